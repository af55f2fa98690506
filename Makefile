# The entry points of qemu-ksm; QEMU's own build does the building.
#
# SPDX-License-Identifier: GPL-2.0-or-later

BUILD := build
QEMU := $(BUILD)/qemu/qemu-system-x86_64
KSMTUNED := $(BUILD)/service/ksmtuned

.PHONY: all deps source qemu service guest ksm-guest kmod kmod-install kmod-remove \
        kmod-guest kmod-6.1 kmod-7.3 kmod-debug stock-qemu \
        original-ksmtuned libvirt promtool gnuplot run run-arguments \
        bench bench-arguments \
        check check-all check-kvm-work check-kmod check-kmod-kernels \
        check-kmod-debug check-kmod-static check-kmod-torture \
        check-kmod-install check-sanitize check-fuzz check-valgrind \
        check-qemu check-deb deb torture fuzzers fuzz fuzz-device fuzz-keep \
        refresh-patches install clean distclean help

all: qemu service

help:
	@echo "make             build QEMU with the ksm object, ksmtuned and ksmctl"
	@echo "make run         boot guests, merge their memory, compare with ksmd"
	@echo "                 GUESTS=4 MEM=256 SECONDS=120 ROUNDS=3 and"
	@echo "                 BACKEND=auto, ksmd, null, or ksmfs: the module is"
	@echo "                 loaded, else all runs in an emulated host"
	@echo "make bench       measure it against ksmd; build/bench/index.html shows"
	@echo "                 what came out; QUICK=1, ONLY=cold,react"
	@echo "make check       the tests that everybody runs: 35 minutes"
	@echo "make check-all   what takes longer: sanitizers, QEMU's own tests"
	@echo "make kmod        build the kernel module ksmfs; KDIR="
	@echo "make kmod-install, kmod-remove   the same through DKMS; KERNEL="
	@echo "make check-kmod  test it, in an emulated host; DEBUG=1 with KASAN,"
	@echo "                 lockdep and more, in a kernel that is built once"
	@echo "make check-kmod-kernels   the same with other kernels: $(KERNELS)"
	@echo "make fuzz        look for inputs that break what reads them;"
	@echo "                 SECONDS=600 each, TARGET="
	@echo "make ksm-guest   the program for guests, to advise what to merge"
	@echo "make install     DESTDIR= PREFIX="
	@echo "make deb         Debian packages, in build/deb"
	@echo "make refresh-patches   patches/ from the edited build/source"
	@echo "make clean       remove what was built; distclean: what was downloaded, too"
	@echo "See also ./configure --help, and CONTRIBUTING.md for other targets"

deps:
	@scripts/deps $(BUILD)

$(BUILD)/config: configure
	@test -f $@ && touch $@ || ./configure

source: deps $(BUILD)/config
	@. $(BUILD)/config && \
	    scripts/source-tree prepare $(BUILD) "$$QEMU_SRC" "$$QEMU_SRC_SHA256"

# QEMU's ninja file knows when meson must run again; only a new choice of
# options or a new tree needs its configure.
$(BUILD)/qemu/.configured: $(BUILD)/config $(BUILD)/source.origin \
                           scripts/configure-qemu
	scripts/configure-qemu $(BUILD)/config $(CURDIR)/$(BUILD)/source \
	    $(BUILD)/qemu > $(BUILD)/configure-qemu.log 2>&1 || \
	    { tail -n 40 $(BUILD)/configure-qemu.log; exit 1; }
	@touch $@

$(BUILD)/source.origin: source

qemu: source
	@$(MAKE) --no-print-directory $(BUILD)/qemu/.configured
	ninja -C $(BUILD)/qemu

$(BUILD)/service/build.ninja: $(BUILD)/config
	@. $(BUILD)/config && CC="$$CC" meson setup --prefix="$$PREFIX" \
	    $$([ ! -f $@ ] || echo --reconfigure) $(BUILD)/service service > $(BUILD)/configure-service.log 2>&1 || \
	    { tail -n 40 $(BUILD)/configure-service.log; exit 1; }

service: source
	@$(MAKE) --no-print-directory $(BUILD)/service/build.ninja
	ninja -C $(BUILD)/service

# Kernel and initramfs of the guests of run and of the host tests.
guest: deps
	@scripts/guest-image

# What runs in guests, and needs nothing there: see docs/system/ksm.rst.
ksm-guest: guest
	@echo "$(BUILD)/guest/ksm-guest/ksm-guest"

# The module for a kernel that is here; for that of the emulated host.
KDIR = /lib/modules/$(shell uname -r)/build
kmod:
	@scripts/kmod-build "$(KDIR)" $(BUILD)/kmod
	@echo "$(BUILD)/kmod/ksmfs.ko"

# For the running kernel, or KERNEL=, and for those to come.
KERNEL =
kmod-install kmod-remove: kmod-%:
	@scripts/kmod-install $* $(KERNEL)

# The distribution's own, for tests that need one without a change.
stock-qemu: deps
	@scripts/stock-qemu

original-ksmtuned: deps
	@scripts/unpack-package ksmtuned $(BUILD)/original-ksmtuned \
	    usr/sbin/ksmtuned etc/ksmtuned.conf

# Checks metrics, alerts and dashboards.
promtool: deps
	@scripts/unpack-package prometheus $(BUILD)/promtool usr/bin/promtool

libvirt: deps
	@scripts/libvirt

# Draws the plots of benchmarks.
gnuplot: deps
	@scripts/deps $(BUILD) gnuplot-nox

kmod-guest: guest
	@scripts/kmod-build $(BUILD)/guest/headers/build $(BUILD)/kmod-guest W=1

# Other kernels of an emulated host, each with what its own release builds by.
KERNELS := 6.1 7.3
$(BUILD)/kernel-%/recipe: guest
	@scripts/guest-image --kernel=$* --output=$(BUILD)/kernel-$*

$(KERNELS:%=kmod-%): kmod-%: $(BUILD)/kernel-%/recipe
	@scripts/build-root run $(BUILD)/kernel-$*/root \
	    scripts/kmod-build /headers $(BUILD)/kernel-$*/kmod W=1

# Wrong values are refused before anything is built.
run-arguments: deps
	@python3 scripts/run-demo --check

# Whether the running kernel takes the module is known when it has, or has not.
run: run-arguments qemu service guest \
     $(if $(filter ksmfs,$(BACKEND)),kmod-guest)
	@python3 scripts/run-demo

# Rows that there aren't are refused before anything is built.
bench-arguments: deps
	@python3 scripts/run-bench --list > /dev/null

bench: bench-arguments qemu service guest kmod-guest original-ksmtuned \
       gnuplot
	@python3 scripts/run-bench

check: qemu service guest kmod-guest stock-qemu original-ksmtuned libvirt \
       promtool gnuplot
	tests/run-checks $(BUILD) series engine service qemu qemu-with-ksm host \
	    libvirt kmod kvm

# What a guest gets done beside its engine, by counted instructions.
check-kvm-work: qemu service guest kmod-guest
	tests/run-checks $(BUILD) kvm-work

# DEBUG=1: on a kernel that looks for faults of its own.
check-kmod: qemu service guest $(if $(DEBUG),kmod-debug,kmod-guest)
	tests/run-checks $(BUILD) $(if $(DEBUG),linux-debug,kmod)

kmod-debug: guest
	@scripts/debug-kernel $(BUILD)/kernel-debug
	@scripts/kmod-build $(BUILD)/kernel-debug/headers \
	    $(BUILD)/kernel-debug/kmod W=1

check-kmod-debug:
	@$(MAKE) --no-print-directory check-kmod DEBUG=1

# sparse, and checkpatch of the source that kmod-debug has unpacked.
check-kmod-static: guest kmod-debug
	tests/run-checks $(BUILD) kmod-static

check-kmod-kernels: qemu service guest $(KERNELS:%=kmod-%)
	tests/run-checks $(BUILD) $(KERNELS:%=linux-%)

# As check-kmod has it, but for twenty minutes.
check-kmod-torture: qemu service guest kmod-guest
	tests/run-checks $(BUILD) kmod-torture

# In a root of its own: nothing is installed here.
check-kmod-install: $(BUILD)/kernel-6.12/recipe
	tests/run-checks $(BUILD) kmod-install

# The sanitized builds stand beside the others.
check-sanitize: source original-ksmtuned promtool
	rm -rf $(BUILD)/service-sanitize
	meson setup -Db_sanitize=address,undefined \
	    -Db_lundef=false $(BUILD)/service-sanitize service
	ninja -C $(BUILD)/service-sanitize
	meson test -C $(BUILD)/service-sanitize -t 4
	scripts/configure-qemu $(BUILD)/config $(CURDIR)/$(BUILD)/source \
	    $(BUILD)/qemu-sanitize --enable-asan --enable-ubsan
	ninja -C $(BUILD)/qemu-sanitize
	meson test -C $(BUILD)/qemu-sanitize -t 8 qtest-x86_64/ksm-test \
	    qtest-x86_64/ksm-pass-test qtest-x86_64/ksm-hint-test \
	    qtest-x86_64/ksm-free-test qtest-x86_64/ksm-guest-test \
	    qtest-x86_64/ksm-rendezvous-test \
	    test-ksm-budget test-ksm-hasher test-ksm-hint test-ksm-marks \
	    test-ksm-tracker

# Only this needs clang.  The build stands beside the others, too.
FUZZ_DEPS := clang libclang-rt-dev
$(BUILD)/service-fuzz/build.ninja: source
	@scripts/deps $(BUILD) $(FUZZ_DEPS)
	@[ -f $@ ] || CC=clang meson setup -Dfuzz=true $(BUILD)/service-fuzz \
	    service > $(BUILD)/configure-fuzz.log 2>&1 || \
	    { tail -n 40 $(BUILD)/configure-fuzz.log; exit 1; }

fuzzers: qemu $(BUILD)/service-fuzz/build.ninja
	ninja -C $(BUILD)/service-fuzz fuzzers
	tests/fuzz/build-rendezvous $(BUILD)

# Each target, or TARGET=, for SECONDS.
fuzz: fuzzers
	tests/fuzz/run $(BUILD) $(or $(SECONDS),600) $(TARGET)

fuzz-keep: fuzzers
	tests/fuzz/run --keep $(BUILD) $(TARGET)

# QEMU's own fuzzer on the ksm-guest device, for SECONDS.
fuzz-device: source
	@scripts/deps $(BUILD) $(FUZZ_DEPS)
	scripts/configure-qemu $(BUILD)/config $(CURDIR)/$(BUILD)/source \
	    $(BUILD)/qemu-fuzz --cc=clang --cxx=clang++ --enable-fuzzing \
	    --enable-asan --enable-ubsan
	ninja -C $(BUILD)/qemu-fuzz qemu-fuzz-x86_64
	$(BUILD)/qemu-fuzz/qemu-fuzz-x86_64 --fuzz-target=generic-fuzz-ksm-guest \
	    -max_total_time=$(or $(SECONDS),600)

check-fuzz: fuzzers
	tests/run-checks $(BUILD) fuzz

check-valgrind: service original-ksmtuned promtool
	meson test -C $(BUILD)/service --setup=valgrind
	meson test -C $(BUILD)/service --setup=valgrindhost

check-qemu: qemu
	tests/run-checks $(BUILD) all-of-qemu all-of-qemu-with-ksm

# In a root of its own: nothing is installed here.  Twice built, as they have to
# be the same.
check-deb: deb
	@scripts/deps $(BUILD) lintian mmdebstrap
	@scripts/deb-root
	tests/run-checks $(BUILD) deb

check-all: check check-kvm-work check-kmod-kernels check-kmod-debug \
           check-kmod-static check-kmod-torture check-kmod-install check-deb \
           check-sanitize check-fuzz check-valgrind check-qemu

torture: qemu service
	python3 tests/host/test-torture.py --seconds=0

# PREFIX= here is --prefix= of configure, given late.
install: deps $(BUILD)/config
	@[ -z "$(PREFIX)" ] || grep -qx "PREFIX='$(PREFIX)'" $(BUILD)/config || \
	    sed -i "s|^PREFIX=.*|PREFIX='$(PREFIX)'|" $(BUILD)/config
	@$(MAKE) --no-print-directory qemu service
	DESTDIR=$(DESTDIR) meson install -C $(BUILD)/qemu --no-rebuild --quiet
	DESTDIR=$(DESTDIR) meson install -C $(BUILD)/service --no-rebuild --quiet

deb: qemu
	@scripts/deps $(BUILD) debian/control
	@scripts/deb

refresh-patches: source
	scripts/source-tree refresh $(BUILD)

clean:
	rm -rf $(BUILD)/qemu $(BUILD)/service $(BUILD)/kmod $(BUILD)/kmod-guest \
	    $(BUILD)/run $(BUILD)/bench $(BUILD)/deb

distclean:
	rm -rf $(BUILD)
