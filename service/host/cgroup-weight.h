/*
 * What a cgroup weighs against others
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef KSM_CGROUP_WEIGHT_H
#define KSM_CGROUP_WEIGHT_H

#define KSM_CGROUP_ROOT         "/sys/fs/cgroup"

/*
 * That of @cgroup, a path below the mounted @root, by its cpu.weight and those
 * of the cgroups that it is in: 1 where all are as by default, from 1/100 to
 * 100.  Only what root sets counts.  Where there is none, as in version 1 of
 * cgroups, it is 1; @cgroup may be NULL.
 */
double ksm_cgroup_weight(const char *root, const char *cgroup);

#endif
