# inferd - one binary that serves a model file over an OpenAI-compatible API.
#
#   make            build build/inferd                    make test       everything a change must pass
#   make run        install, fetch the model, serve it    make test-all   test, and what takes longer
#   make bench      measured speed tables                 make lint       style and layering only
#
# Variables: MODEL=path (for run), SANITIZE=address,undefined | thread, V=1 (show commands).
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
PKG_CFLAGS = $(shell pkg-config --cflags $(LIBS) 2>/dev/null)
PKG_LIBS = $(shell pkg-config --libs $(LIBS) 2>/dev/null)

# Messages and names are cut to their buffers on purpose: -Wformat-truncation would forbid that.
WARN := -Wall -Wextra -Wshadow -Wmissing-prototypes -Wstrict-prototypes -Wvla -Wno-format-truncation -Werror
# No contraction of a*b+c: a kernel and its scalar definition must round alike.
OPT := -O2 -ffp-contract=off -fno-math-errno -fno-trapping-math
CFLAGS := -std=c11 -D_GNU_SOURCE $(OPT) -g -pthread $(WARN) -I. \
          $(if $(SANITIZE),-fsanitize=$(SANITIZE) -fno-omit-frame-pointer)
LDFLAGS := -pthread $(if $(SANITIZE),-fsanitize=$(SANITIZE))
LDLIBS = $(PKG_LIBS) -lm

# Files named *_avx2.c and *_avx512.c may use those instructions; they are entered only through the
# table that cpuid filled (kernels/cpu/isa.c).
AVX2 := -mavx2 -mfma -mf16c -O3
AVX512 := $(AVX2) -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx512vnni -mprefer-vector-width=512
ISA_CFLAGS = $(if $(filter %_avx2.c,$<),$(AVX2))$(if $(filter %_avx512.c,$<),$(AVX512))$(if $(filter %_avx512bf16.c,$<),$(AVX512) -mavx512bf16)

SRC := $(wildcard kernels/base/*.c kernels/*.c kernels/cpu/*.c kernels/null/*.c kernels/quant/*.c \
         engine/*.c engine/*/*.c api/*.c server/*.c server/cmd/*.c)
OBJ := $(SRC:%.c=$(B)/%.o)
MAIN := $(B)/server/main.o
LIB := $(B)/libinferd.a

.PHONY: all run test test-all lint bench fuzz deps format container-test clean
all: $(B)/inferd

$(B)/inferd: $(MAIN) $(LIB)
	@echo "link $@"
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS)

$(LIB): $(filter-out $(MAIN),$(OBJ))
	$(Q)rm -f $@; ar rcs $@ $^

$(B)/%.o: %.c
	@mkdir -p $(@D)
	@echo "cc   $<"
	$(Q)$(CC) $(CFLAGS) $(PKG_CFLAGS) $(ISA_CFLAGS) -MMD -MP -c -o $@ $<

# --- tests: tests/<floor>/test_<file>.c is a cmocka program for <file>.c; tests/support/*.c is shared by them
TEST_SRC := $(wildcard tests/*/test_*.c)
TESTS := $(TEST_SRC:%.c=$(B)/%)
SUPPORT := $(patsubst %.c,$(B)/%.o,$(wildcard tests/support/*.c))

$(TESTS): $(B)/%: $(B)/%.o $(SUPPORT) $(LIB)
	$(Q)$(CC) $(LDFLAGS) -o $@ $< $(SUPPORT) $(LIB) -lcmocka $(LDLIBS)

# One test program: make build/tests/kernels/test_json && build/tests/kernels/test_json

-include $(OBJ:.o=.d) $(TESTS:=.d) $(SUPPORT:.o=.d)
