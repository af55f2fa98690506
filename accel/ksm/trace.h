#include "trace/trace-accel_ksm.h"
