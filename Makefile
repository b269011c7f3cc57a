# inferd - one binary that serves a model file over an OpenAI-compatible API.
#
#   make            build build/inferd                    make test       everything a change must pass
#   make run        install, fetch the model, serve it    make test-all   test, and what takes longer
#   make bench      measured speed tables                 make lint       style and layering only
#   make fuzz       long fuzzing with clang               make format     clang-format over the tree
#   make deps       install what is missing (apt)         make container-test   build and try the image
#   make CUDA=1     build/cuda/inferd, for NVIDIA GPUs    make test-emulated    its kernels, on this processor
#   make gpu-check  measure and test an NVIDIA GPU        make gpu-bundle       what that needs, for another machine
#
# Variables: MODEL=path and ARGS="options" (for run), SANITIZE=address,undefined | thread,
# FUZZ_SECONDS=n (a target), FUZZ=json (one target), V=1 (show commands), CUDA_ARCH=90a (one GPU only),
# CUDA_HOME=path (of the toolkit), CUDA_FROM=pip (fetch the toolkit), CUDA_TARGET=aarch64, DRY=1 (gpu-check without a GPU).
# Each variant builds into a folder of its own, so nothing ever needs `make clean`.

MAKEFLAGS += -r
SHELL := /bin/bash

empty :=
comma := ,
B := build$(if $(SANITIZE),/$(subst $(comma),-,$(SANITIZE)))
Q := $(if $(V),,@)

CC ?= cc
ifeq ($(origin CC),default)
CC := cc
endif
LIBS := libmicrohttpd libcjson libpcre2-8 libutf8proc
PKG_CFLAGS := $(shell pkg-config --cflags $(LIBS) 2>/dev/null)
PKG_LIBS := $(shell pkg-config --libs $(LIBS) 2>/dev/null)

# Messages and names are cut to their buffers on purpose: -Wformat-truncation would forbid that.
# -Wpsabi warns of wide vectors as arguments; ours never leave the file that is compiled.
WARN := -Wall -Wextra -Wshadow -Wmissing-prototypes -Wstrict-prototypes -Wvla -Wno-format-truncation -Wno-psabi -Werror
# No contraction of a*b+c: a kernel and its scalar definition must round alike.
# Sanitizers: vector code with all checks takes minutes a file at -O3, and twice that with -g's tracking.
OPT := $(if $(SANITIZE),-O1 -fno-var-tracking,-O2) -ffp-contract=off -fno-math-errno -fno-trapping-math
CFLAGS := -std=c11 -D_GNU_SOURCE $(OPT) -g -pthread $(WARN) -I. \
          $(if $(SANITIZE),-fsanitize=$(SANITIZE) -fno-sanitize-recover=all -fno-omit-frame-pointer) \
          $(EXTRA_CFLAGS)
LDFLAGS := -pthread $(if $(SANITIZE),-fsanitize=$(SANITIZE)) $(EXTRA_LDFLAGS)
LDLIBS = $(PKG_LIBS) -lm

# Files named *_avx2.c and *_avx512.c may use those instructions; they are entered only through the
# table that cpuid filled (kernels/cpu/isa.c).
# -g1: following variables through unrolled tiles would take gcc minutes.
AVX2 := -mavx2 -mfma -mf16c $(if $(SANITIZE),,-O3) -g1
AVX512 := $(AVX2) -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx512vnni -mprefer-vector-width=512
ISA_CFLAGS = $(if $(filter %_avx2.c,$<),$(AVX2))$(if $(filter %_avx512.c,$<),$(AVX512))$(if $(filter %_avx512bf16.c,$<),$(AVX512) -mavx512bf16)

SRC := $(wildcard kernels/base/*.c kernels/*.c kernels/cpu/*.c kernels/null/*.c kernels/quant/*.c kernels/gpu/*.c \
         engine/*.c engine/*/*.c api/*.c server/*.c server/cmd/*.c)
OBJ := $(SRC:%.c=$(B)/%.o) $(B)/configs.o
MAIN := $(B)/server/main.o
LIB := $(B)/libinferd.a
PROGRAM := $(B)/inferd

# With CUDA=1 kernels/cuda joins; all else is the same, so only it is compiled, and linked into a program of its
# own. The runtime is linked statically and opens the driver when it is first asked: the program starts without one.
CUDA_TARGET ?= $(shell uname -m)
CUDA_ARCHS := $(if $(filter aarch64 arm64,$(CUDA_TARGET)),75 80 86 87 89 90a 100f 110f 120f,75 80 86 89 90a 100f 120f)
CUDA_ARCH ?= $(CUDA_ARCHS)
K := $(B)/cuda$(if $(filter-out $(CUDA_ARCH),$(CUDA_ARCHS)),-$(subst $(empty) $(empty),-,$(strip $(CUDA_ARCH))))
ifeq ($(CUDA_FROM),pip)
CUDA_READY := build/cuda-pip/ready
CUDA_HOME := build/cuda-pip/nvidia/cu13
NVCC := $(CUDA_HOME)/bin/nvcc
HAVE_CUDA := $(CUDA_HOME)/include/cuda_runtime.h
else
CUDA_HOME ?= /usr/local/cuda
NVCC := $(firstword $(wildcard $(CUDA_HOME)/bin/nvcc) $(shell command -v nvcc 2>/dev/null))
HAVE_CUDA := $(wildcard $(CUDA_HOME)/include/cuda_runtime.h)
endif
export CUDA_HOME
# The one that takes longest first, so that the others compile beside it.
CUDA_SRC := kernels/cuda/linear_ints.cu \
            $(filter-out %/linear_ints.cu,$(wildcard kernels/cuda/*.c kernels/cuda/*.cu))
CUDA_OBJ := $(patsubst %,$(K)/%.o,$(basename $(CUDA_SRC)))
CUDA_LDLIBS := -L$(CUDA_HOME)/lib64 -L$(CUDA_HOME)/lib -lcudart_static -ldl -lrt
# ptxas reports registers and spills; tests/tools/cuda_objects.py reads them. On the host nothing needs C++'s libraries,
# which would tie the program to a distribution.
NVCC_FLAGS := -std=c++17 -O3 -I. -Xcompiler -Wall,-fno-exceptions,-fno-threadsafe-statics -Werror all-warnings -Xfatbin -compress-all -Xptxas -v
# sm_80, 86, 87 and 89 share the PTX of sm_80, half of what a target costs, but where kernels use e4m3's conversions
# and products, which sm_89 has.
CUDA_E4M3 := $(addprefix kernels/cuda/,linear_w8a8.cu peak.cu quant_fp4.cu quant_rows.cu rope.cu)
cuda_ptx = $(if $(filter 86 87 $(if $(filter $(CUDA_E4M3) tests/%,$1),,89),$2),80,$2)
cuda_gencode = $(foreach a,$(CUDA_ARCH),-gencode arch=compute_$(call cuda_ptx,$1,$a),code=sm_$a)
ifdef CUDA
ifeq ($(NVCC),)
$(error CUDA=1 needs nvcc 13: `make CUDA=1 CUDA_FROM=pip` fetches nvidia-cuda-nvcc nvidia-cuda-runtime nvidia-cuda-cccl from PyPI into build/cuda-pip (nvidia-cublas, which only runs need, is left to you); or install cuda-nvcc-13-0 cuda-cudart-dev-13-0 cuda-cccl-13-0 from NVIDIA and set CUDA_HOME)
endif
PROGRAM := $(K)/inferd
endif

# kernels/configs: what is known of each GPU, checked and put into the program by one that is always a plain build.
CONFIGS := $(filter-out %/gpus.json,$(sort $(wildcard kernels/configs/*.json)))
EMBED_OBJ := $(patsubst %.c,$(B)/%.o,kernels/configs/embed.c $(addprefix kernels/gpu/,config.c config_fields.c config_read.c config_write.c check.c registry.c) \
             $(wildcard kernels/base/*.c kernels/quant/*.c) kernels/dtype.c kernels/half.c kernels/x_type.c)

.PHONY: all run serve test test-all test-c test-emulated emulated cuda-objects cuda-objects-arm64 cuda-mutants tests lint bench \
        fuzz libfuzzer format container-test clean gpu-bundle gpu-check gpu-dry \
        deps deps-build deps-run deps-test
all: $(PROGRAM)

$(B)/inferd: $(MAIN) $(LIB)
	@echo "link $@"
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS)

$(K)/inferd: $(MAIN) $(CUDA_OBJ) $(LIB)
	@echo "link $@"
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS) $(CUDA_LDLIBS)

$(LIB): $(filter-out $(MAIN),$(OBJ))
	$(Q)rm -f $@; ar rcs $@ $^

$(B)/%.o: %.c Makefile
	$(if $(PKG_LIBS),,$(error libraries are missing: run "make deps"))
	@mkdir -p $(@D)
	@echo "cc   $<"
	$(Q)$(CC) $(CFLAGS) $(PKG_CFLAGS) $(ISA_CFLAGS) -MMD -MP -c -o $@ $<

# The C of the CUDA backend and of its tests sees the toolkit's headers.
$(K)/%.o: %.c Makefile | $(CUDA_READY)
	@mkdir -p $(@D)
	@echo "cc   $< (CUDA)"
	$(Q)$(CC) $(CFLAGS) -isystem $(CUDA_HOME)/include -MMD -MP -c -o $@ $<

$(K)/%.o: %.cu Makefile | $(CUDA_READY)
	@mkdir -p $(@D)
	@echo "nvcc $<"
	$(Q)$(NVCC) $(NVCC_FLAGS) $(call cuda_gencode,$<) -MMD -MP -c -o $@ $< 2>$(@:.o=.ptxas) || { cat $(@:.o=.ptxas); exit 1; }

# CUDA_FROM=pip: NVIDIA's compiler, headers and runtime as wheels (about 200 MB), without its libraries.
CUDA_WHEELS := nvidia-cuda-nvcc==13.0.* nvidia-cuda-crt==13.0.* nvidia-nvvm==13.0.* nvidia-cuda-runtime==13.0.* \
               nvidia-cuda-cccl==13.0.*
build/cuda-pip/ready:
	$(Q)tests/tools/apt.sh python3 python3-pip
	@echo "pip  $(CUDA_WHEELS)"
	$(Q)python3 -m pip install --quiet --disable-pip-version-check --no-deps --upgrade --only-binary=:all: \
	    --target $(@D) $(CUDA_WHEELS)
	$(Q)touch $@

ifeq ($(B),build)
build/embed: $(EMBED_OBJ)
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS)

build/configs.c: build/embed $(CONFIGS)
	@echo "json kernels/configs"
	$(Q)build/embed $@ $(CONFIGS)
else
build/configs.c: $(CONFIGS) kernels/configs/embed.c $(wildcard kernels/gpu/*.[ch])
	$(Q)$(MAKE) --no-print-directory B=build CC=cc CUDA= SANITIZE= EXTRA_CFLAGS= EXTRA_LDFLAGS= $@
endif

$(B)/configs.o: build/configs.c
	@mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS) -MMD -MP -c -o $@ $<

# --- tests: tests/<floor>/test_<file>.c is a cmocka program for <file>.c, tests/fuzz/fuzz_<x>.c is run by
# tests/fuzz/driver.c; tests/support/*.c is shared by all. One of them:
#   make build/tests/kernels/test_json && build/tests/kernels/test_json
TESTS := $(patsubst %.c,$(B)/%,$(filter-out tests/simt/%,$(wildcard tests/*/test_*.c)))
FUZZERS := $(patsubst %.c,$(B)/%,$(wildcard tests/fuzz/fuzz_$(or $(FUZZ),*).c))
SUPPORT := $(B)/libsupport.a
DRIVER ?= $(B)/tests/fuzz/driver.o
# The api floor is tested over a scripted engine, the HTTP server over a scripted api: each stands before the real one
# on the link line.
FAKE := $(patsubst %.c,$(B)/%.o,$(wildcard tests/api/fake/*.c))
FAKE_API := $(patsubst %.c,$(B)/%.o,$(wildcard tests/server/fake/*.c))

$(SUPPORT): $(patsubst %.c,$(B)/%.o,$(wildcard tests/support/*.c))
	$(Q)rm -f $@; ar rcs $@ $^

$(TESTS): $(B)/%: $(B)/%.o $(SUPPORT) $(LIB)
	$(Q)$(CC) $(LDFLAGS) -o $@ $(filter %.o,$^) $(SUPPORT) $(LIB) -lcmocka $(LDLIBS)

$(FUZZERS): $(B)/%: $(B)/%.o $(DRIVER) $(LIB)
	$(Q)$(CC) $(LDFLAGS) -o $@ $(filter %.o,$^) $(LIB) $(LDLIBS)

$(filter $(B)/tests/api/%,$(TESTS)) $(B)/tests/fuzz/fuzz_chat: $(FAKE)
$(B)/tests/server/test_http: $(FAKE_API)
$(B)/tests/fuzz/fuzz_gguf $(B)/tests/fuzz/fuzz_hf $(B)/tests/fuzz/fuzz_imatrix: $(B)/tests/fuzz/walk.o
$(B)/tests/fuzz/fuzz_tokenizer_json $(B)/tests/fuzz/fuzz_tokenizer_model $(B)/tests/fuzz/fuzz_loose: $(B)/tests/fuzz/tokens.o
$(B)/tests/fuzz/fuzz_hf $(B)/tests/engine/test_hf_files: $(B)/tests/fuzz/hf_parts.o

tests: $(TESTS) $(FUZZERS)

JOBS := $(shell nproc)
FUZZ_SECONDS ?= 20
# All processors, unless the caller said -j.
PARALLEL = $(if $(findstring jobserver,$(MAKEFLAGS)),,-j$(JOBS))
# Programs under a sanitizer are several times slower, hence their longer limit. Without threads there is no race to
# be found.
RUN := python3 tests/tools/run.py --jobs $(JOBS) --fuzz-seconds $(FUZZ_SECONDS) \
       --timeout $(if $(SANITIZE),300,60) $(if $(filter thread,$(SANITIZE)),--threaded)
VENV := .venv/ready
# Where nvcc is, the program with CUDA is built too, for one target, and looked at: OBJECTS=no leaves that out.
OBJECTS ?= yes
CHECKS := $(wildcard tests/tools/test_*.py) tests/tools/lint.py $(if $(filter no,$(OBJECTS)),,tests/tools/cuda_objects.py)

test: deps-test
	$(Q)$(MAKE) --no-print-directory $(PARALLEL) all tests emulated $(if $(HAVE_CUDA),gpu-dry) $(VENV)
	$(Q)$(if $(filter no,$(OBJECTS)),,$(if $(NVCC),$(MAKE) --no-print-directory $(PARALLEL) CUDA=1 CUDA_ARCH=90a all .venv/cuda))
	$(Q)$(if $(HAVE_CUDA),,echo "SKIP the CUDA kernels are not tested: $(CUDA_HOME)/include has no CUDA headers")
	$(Q)models/fetch.sh >/dev/null || echo "SKIP the default model cannot be fetched: tests that need it are skipped"
	$(Q)$(RUN) $(CHECKS:%=--check %) --e2e tests/e2e $(TESTS) $(if $(HAVE_CUDA),$(SIMT_PROGRAMS)) $(FUZZERS)

# Only what is written in C; .ci/run uses it for the sanitizer builds.
test-c: deps-test
	$(Q)$(MAKE) --no-print-directory $(PARALLEL) tests
	$(Q)$(RUN) $(TESTS) $(FUZZERS)

test-all: test container-test cuda-objects cuda-objects-arm64 cuda-mutants
	$(Q)TEMPLATES=20000 python3 tests/tools/test_template_fuzz.py
	$(Q)$(MAKE) --no-print-directory test-c SANITIZE=address,undefined
	$(Q)$(MAKE) --no-print-directory test-c SANITIZE=thread

$(VENV): tests/tools/requirements.txt
	@echo "venv .venv"
	$(Q)python3 -m venv .venv
	$(Q).venv/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	$(Q)touch $@

# NVIDIA's disassembler, where the toolkit came without.
.venv/cuda: tests/tools/requirements-cuda.txt $(VENV)
	$(Q).venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -r $<
	$(Q)touch $@

# Every target that is shipped, and what ptxas made of it.
cuda-objects: $(if $(NVCC),.venv/cuda)
	$(Q)$(if $(NVCC),$(MAKE) --no-print-directory $(PARALLEL) CUDA=1 all)
	$(Q)python3 tests/tools/cuda_objects.py build/cuda
	$(Q)$(if $(NVCC),$(MAKE) --no-print-directory $(PARALLEL) $(ARM64_ONLY) \
	    $(ARM64_PART:%=build/cuda-87-110f/kernels/cuda/%.o))
	$(Q)python3 tests/tools/cuda_objects.py --part build/cuda-87-110f

# The two targets that only arm64 has: device code does not depend on the host, so they compile anywhere. All of it
# takes two minutes of two cores; cuda-objects does what is quick.
ARM64_ONLY := CUDA=1 CUDA_TARGET=aarch64 CUDA_ARCH="87 110f"
ARM64_PART := linear_mma8 norm rope
cuda-objects-arm64: $(if $(NVCC),.venv/cuda)
	$(Q)$(if $(NVCC),$(MAKE) --no-print-directory $(PARALLEL) $(ARM64_ONLY) \
	    $(patsubst %.cu,build/cuda-87-110f/%.o,$(filter %.cu,$(CUDA_SRC))))
	$(Q)python3 tests/tools/cuda_objects.py build/cuda-87-110f

# Bugs planted in the kernels, which the emulated tests must find.
cuda-mutants: $(if $(HAVE_CUDA),emulated)
	$(Q)python3 tests/tools/cuda_mutants.py

lint:
	$(Q)python3 tests/tools/lint.py

format:
	$(Q)git ls-files '*.c' '*.h' '*.cu' '*.cuh' '*.cc' | xargs clang-format -i

# clang's libFuzzer, guided by coverage; new inputs stay under build/. FUZZ=json for one target.
fuzz:
	$(Q)tests/tools/apt.sh clang
	$(Q)$(MAKE) --no-print-directory $(PARALLEL) libfuzzer CC=clang B=build/libfuzzer DRIVER= \
	    SANITIZE=address,undefined EXTRA_CFLAGS="-fsanitize=fuzzer-no-link -Wno-error -Wno-unknown-warning-option" \
	    EXTRA_LDFLAGS=-fsanitize=fuzzer

libfuzzer: $(FUZZERS)
	$(Q)for f in $(FUZZERS); do t=$${f##*/fuzz_}; mkdir -p $(B)/corpus/$$t; \
	    echo "== $$t"; $$f -max_total_time=$(FUZZ_SECONDS) -timeout=20 -print_final_stats=1 \
	        -artifact_prefix=$(B)/crash-$$t- $(B)/corpus/$$t tests/fuzz/corpus/$$t || exit 1; done

# Weights of a real shape, random, made in memory; no file is needed. MODEL=path adds how long it takes to
# start with that file. tests/bench/*.c measure single parts:
#   make build/tests/bench/bench_tokenizer
SHAPE ?= qwen2.5-0.5b
FORMATS ?= q8_0 q4_0 bf16
bench: all
	$(Q)for f in $(FORMATS); do $(PROGRAM) bench --random $(SHAPE) --format $$f || exit 1; done
	$(Q)tests/bench/bench_server.py $(PROGRAM) --random $(SHAPE) --format $(firstword $(FORMATS))
	$(Q)$(if $(MODEL),tests/bench/bench_start.py $(PROGRAM) '$(MODEL)')

BENCHES := $(patsubst %.c,$(B)/%,$(wildcard tests/bench/bench_*.c))
$(BENCHES): $(B)/%: $(B)/%.o $(SUPPORT) $(LIB)
	$(Q)$(CC) $(LDFLAGS) -o $@ $< $(SUPPORT) $(LIB) -lcmocka $(LDLIBS)

# --- CUDA on this processor: tests/simt runs the kernels as fibers, so that they are tested without a GPU.
# Three builds: plain (also with random schedules), bounds (address sanitizer), race (the emulator's race checker).
SIMT_TESTS := $(wildcard tests/simt/test_*.c tests/simt/test_*.cu)
SIMT_BUILDS := plain bounds race
# Kernels view uint4 registers as pairs of bf16, as nvcc allows: no strict aliasing.
SIMT_CXX := -std=c++17 -D_GNU_SOURCE -g -O2 -fno-strict-aliasing -ffp-contract=off -pthread -Wall -Wextra \
            -Werror -Wno-unused-parameter -Wno-maybe-uninitialized -I. -isystem $(CUDA_HOME)/include
simt_all_bounds := -fsanitize=address,bounds -fno-omit-frame-pointer -O1
simt_kernel_race := -fsanitize=thread -Wno-tsan
simt_obj = $(patsubst %,$(B)/simt/$1/%.o,$(basename $2))
SIMT_SRC := $(wildcard tests/simt/*.cc) $(filter-out tests/simt/test_%,$(wildcard tests/simt/*.c)) tests/gpu/measure.c \
            tests/gpu/lt_peak.c
GPU_SRC := $(wildcard tests/gpu/gpu_*.c tests/gpu/gpu_*.cu)
simt_lib = $(call simt_obj,$1,$(CUDA_SRC) $(filter-out $(if $(filter race,$1),,%/race.cc),$(SIMT_SRC)))
# The emulator's own tests break kernels on purpose, and tuning repeats what others test: plain build only.
SIMT_PROGRAMS := $(foreach b,$(SIMT_BUILDS),$(patsubst %,$(B)/simt/$b/%,$(filter-out \
                 $(if $(filter plain,$b),,$(addprefix tests/simt/test_,simt tune hang)),$(basename $(SIMT_TESTS)))))

define SIMT_BUILD
$(B)/simt/$1/%.o: %.cu Makefile | $(CUDA_READY)
	@mkdir -p $$(@D); echo "simt $1 $$<"
	$$(Q)$$(CXX) $(SIMT_CXX) $(simt_all_$1) $$(if $$(filter kernels/%,$$<),$(simt_kernel_$1)) -x c++ \
	    -include tests/simt/simt.h -MMD -MP -c -o $$@ $$<
$(B)/simt/$1/%.o: %.cc Makefile | $(CUDA_READY)
	@mkdir -p $$(@D); echo "simt $1 $$<"
	$$(Q)$$(CXX) $(SIMT_CXX) $(simt_all_$1) -MMD -MP -c -o $$@ $$<
$(B)/simt/$1/%.o: %.c Makefile | $(CUDA_READY)
	@mkdir -p $$(@D); echo "simt $1 $$<"
	$$(Q)$$(CC) $(CFLAGS) $(simt_all_$1) -isystem $(CUDA_HOME)/include -MMD -MP -c -o $$@ $$<
$(patsubst %,$(B)/simt/$1/%,$(basename $(SIMT_TESTS) $(GPU_SRC))): $(B)/simt/$1/%: $(B)/simt/$1/%.o \
    $(call simt_lib,$1) $(SUPPORT) $(LIB)
	$$(Q)$$(CXX) $(simt_all_$1) -rdynamic -pthread -o $$@ $$(filter %.o,$$^) $(SUPPORT) $(LIB) -lcmocka -ldl $(LDLIBS)
$(B)/simt/$1/inferd: $(MAIN) $(filter-out %/gpu.o %/product.o %/lt_queue.o %/measure.o %/lt_peak.o,$(call simt_lib,$1)) $(LIB)
	$$(Q)$$(CXX) $(simt_all_$1) -rdynamic -pthread -o $$@ $$(filter %.o,$$^) $(LIB) -ldl $(LDLIBS)
-include $(patsubst %,$(B)/simt/$1/%.d,$(basename $(SIMT_TESTS) $(CUDA_SRC) $(SIMT_SRC) $(GPU_SRC)))
endef
$(foreach b,$(SIMT_BUILDS),$(eval $(call SIMT_BUILD,$b)))

# Built and run in the same breath as the other tests, where the CUDA headers are.
emulated: $(if $(HAVE_CUDA),$(SIMT_PROGRAMS))
test-emulated: deps-test
	$(Q)$(if $(HAVE_CUDA),$(MAKE) --no-print-directory $(PARALLEL) emulated && $(RUN) $(SIMT_PROGRAMS),\
	    echo "SKIP the CUDA kernels are not tested: $(CUDA_HOME)/include has no CUDA headers")

# --- an NVIDIA GPU: tests/gpu/check.py measures and tests it, with programs that lie in one folder, so that they can
# be made elsewhere (gpu-bundle). DRY=1: the emulator's, which shows that all of it works.
G := build/gpu
GPU_ARCH ?= $(or $(shell tests/tools/gpu_arch.sh),90a)
GPU_PROGRAMS := $(notdir $(basename $(GPU_SRC)))
# Not these: they order from the emulator what no GPU does when asked.
GPU_TESTS := $(filter-out test_simt test_lt test_lt_algo test_fp4 test_faults test_check test_fit test_hang,\
             $(notdir $(basename $(SIMT_TESTS))))
GPU_HELP := tests/gpu/measure.c tests/gpu/lt_peak.c
GPU_LDFLAGS := -s -Wl,--disable-new-dtags,-rpath,'$$ORIGIN:$$ORIGIN/..'
GPU_ALL := $(G)/inferd $(G)/measures $(G)/testing
GPU_SCRIPTS := $(GPU_PROGRAMS:%=$(G)/%) $(GPU_TESTS:%=$(G)/tests/%)
ifdef CUDA
$(G)/inferd: $(MAIN) $(CUDA_OBJ) $(LIB)
	@mkdir -p $(@D)
	$(Q)$(CC) $(LDFLAGS) $(GPU_LDFLAGS) -o $@ $^ $(LDLIBS) $(CUDA_LDLIBS)
# The programs that measure, and the emulated tests' programs, unchanged, without the emulator: all of each kind in
# one, which has the kernels once, and a script of each name.
GPU_MEASURE := $(GPU_PROGRAMS:%=$(K)/tests/gpu/main_%.o) $(patsubst %.c,$(K)/%.o,$(GPU_HELP))
GPU_TESTING := $(GPU_TESTS:%=$(K)/tests/gpu/main_%.o) $(K)/tests/gpu/real.o \
               $(patsubst %.c,$(K)/%.o,$(filter tests/simt/%,$(SIMT_SRC:%.cc=)))
$(K)/tests/gpu/measures.o: CFLAGS += '-DNAMES=$(foreach t,$(GPU_PROGRAMS),PROGRAM($t))'
$(K)/tests/gpu/tests.o: CFLAGS += '-DNAMES=$(foreach t,$(GPU_TESTS),TEST($t))'
$(K)/tests/gpu/measures.o $(K)/tests/gpu/tests.o: tests/gpu/multi.c Makefile
	@mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS) -c -o $@ $<
$(K)/tests/gpu/main_gpu_%.o: $(K)/tests/gpu/gpu_%.o
	$(Q)objcopy --redefine-sym main=main_gpu_$* $< $@
$(K)/tests/gpu/main_test_%.o: $(K)/tests/simt/test_%.o
	@mkdir -p $(@D)
	$(Q)objcopy --redefine-sym main=main_test_$* $< $@
$(G)/measures: $(K)/tests/gpu/measures.o $(GPU_MEASURE) $(CUDA_OBJ) $(LIB)
	@mkdir -p $(@D)
	$(Q)$(CC) $(LDFLAGS) $(GPU_LDFLAGS) -o $@ $^ $(LDLIBS) $(CUDA_LDLIBS)
$(G)/testing: $(K)/tests/gpu/tests.o $(GPU_TESTING) $(CUDA_OBJ) $(SUPPORT) $(LIB)
	@mkdir -p $(@D)
	$(Q)$(CC) $(LDFLAGS) $(GPU_LDFLAGS) -Wl,--wrap=cudaMalloc -o $@ $(filter %.o,$^) $(SUPPORT) $(LIB) -lcmocka \
	    $(LDLIBS) $(CUDA_LDLIBS)
$(GPU_PROGRAMS:%=$(G)/%): $(G)/measures
	$(Q)printf '#!/bin/sh\nexec "$${0%%/*}/measures" $(@F) "$$@"\n' >$@; chmod +x $@
$(GPU_TESTS:%=$(G)/tests/%): $(G)/testing
	@mkdir -p $(@D)
	$(Q)printf '#!/bin/sh\nexec "$${0%%/*}/../testing" $(@F)\n' >$@; chmod +x $@
endif
$(G)/wrappers.txt: build/simt/plain/tests/gpu/gpu_wrappers
	@mkdir -p $(@D)
	$(Q)$< >$@

gpu-bundle:
	$(Q)$(MAKE) --no-print-directory $(PARALLEL) CUDA=1 CUDA_ARCH="$(GPU_ARCH)" $(GPU_ALL) $(GPU_SCRIPTS) \
	    $(G)/wrappers.txt
	$(Q)git rev-parse HEAD >$(G)/commit 2>/dev/null || echo unknown >$(G)/commit
	$(Q)tests/gpu/bundle.sh $(G) $(GPU_ALL)

# Uses what was carried here; PHASES=1,4 for some of it, OUT=folder for the results.
ifdef DRY
gpu-check: $(if $(HAVE_CUDA),gpu-dry)
	$(Q)$(if $(HAVE_CUDA),python3 tests/gpu/check.py build/gpu-dry --dry --state build/gpu-dry/state --out build/gpu-dry/out \
	    $(if $(PHASES),--phases $(PHASES)),echo "SKIP gpu-check is not tried: $(CUDA_HOME)/include has no CUDA headers")
else
gpu-check: $(if $(wildcard $(G)/wrappers.txt),,gpu-bundle)
	$(Q)python3 tests/gpu/check.py $(G) $(if $(PHASES),--phases $(PHASES)) $(if $(OUT),--out $(OUT) --keep $(OUT),--golden tests/data/gpu)
endif

# Two of the tests are enough to show that they are run.
gpu-dry: $(if $(HAVE_CUDA),$(addprefix build/simt/plain/,inferd $(GPU_PROGRAMS:%=tests/gpu/%) tests/simt/test_device \
    tests/simt/test_panel))
	$(Q)mkdir -p build/gpu-dry/tests
	$(Q)cp build/simt/plain/inferd $(GPU_PROGRAMS:%=build/simt/plain/tests/gpu/%) build/gpu-dry
	$(Q)cp build/simt/plain/tests/simt/test_device build/simt/plain/tests/simt/test_panel build/gpu-dry/tests
	$(Q)SIMT_SCHED=backward build/gpu-dry/gpu_wrappers >build/gpu-dry/wrappers.txt

container-test:
	$(Q)docker/smoke.sh

# --- set-up: each of these costs a tenth of a second when nothing is missing
DEB_BUILD := build-essential pkg-config libmicrohttpd-dev libcjson-dev libpcre2-dev libutf8proc-dev
DEB_RUN := $(DEB_BUILD) python3 python3-pip
DEB_TEST := $(DEB_BUILD) libcmocka-dev clang-format python3 python3-pip python3-venv

deps-build:
	$(Q)tests/tools/apt.sh $(DEB_BUILD)
deps-run:
	$(Q)tests/tools/apt.sh $(DEB_RUN)
deps-test:
	$(Q)tests/tools/apt.sh $(DEB_TEST)
deps:
	$(Q)tests/tools/apt.sh $(sort $(DEB_RUN) $(DEB_TEST))

# Installs, builds, fetches the default model unless MODEL names another, and serves it. Where there is an NVIDIA
# GPU, and nvcc, the program is built for that GPU alone.
run: deps-run
	$(Q)gpu=$$(tests/tools/gpu_arch.sh); [ -z "$$gpu" -o -n "$(NVCC)" ] || { gpu=; \
	    echo "The GPU is not used: nvcc is missing. \`make run CUDA_FROM=pip\` fetches it from PyPI."; }; \
	    $(MAKE) --no-print-directory $(PARALLEL) serve $${gpu:+CUDA=1 "CUDA_ARCH=$$gpu"}
serve: all
	$(Q)model='$(MODEL)'; [ -n "$$model" ] || model=$$(models/fetch.sh) || exit 1; \
	    exec $(PROGRAM) serve "$$model" $(ARGS)

clean:
	rm -rf build

-include $(OBJ:.o=.d) $(EMBED_OBJ:.o=.d) $(CUDA_OBJ:.o=.d) $(TESTS:=.d) $(FUZZERS:=.d) $(B)/tests/fuzz/walk.d $(B)/tests/fuzz/tokens.d $(B)/tests/fuzz/hf_parts.d $(B)/tests/fuzz/driver.d $(BENCHES:=.d) $(FAKE:.o=.d) $(FAKE_API:.o=.d) \
    $(patsubst %.c,$(B)/%.d,$(wildcard tests/support/*.c))
