/* mode.h - how the emulator runs what comes next; for test programs in C. */
#ifndef TESTS_SIMT_MODE_H
#define TESTS_SIMT_MODE_H

#include <stdbool.h>
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

struct simt_mode {
    bool backward, random; /* order of threads, warps and blocks; neither: forward */
    bool lazy;             /* stream work runs only when something waits for it */
    bool protect;          /* the host faults when it touches device memory */
    int seed;
};
void simt_mode(const struct simt_mode *m);
/* What is wrong with the emulated GPU from now on; zeros: nothing. */
struct simt_faults {
    int devices;      /* -1: the driver shows none; 2: two of them */
    int driver;       /* CUDA version of the driver; -1: there is none, -2: the toolkit's stub */
    int cc;           /* compute capability, of the first */
    size_t memory;    /* bytes it has */
    int break_after;  /* kernels until an error that no call recovers from */
    const char *idle; /* kernels with this in their name return at once, having done nothing */
    bool no_graphs;   /* captured work cannot be made into a graph */
    int fail_call;    /* the n-th call that may fail is refused: out of memory, once */
    bool lost;        /* with that: the device is lost, in this call and all that follow */
    int hang_after;   /* kernels until one that never ends; to wait for it ends the program */
};
void simt_faults(const struct simt_faults *f);

/* A clock that work alone moves on, which events then tell: for what is timed by events. */
extern struct simt_clock {
    bool on;
    double us;
    double launch_us; /* of a kernel */
    double tops[4];   /* of products by cuBLASLt in bf16 (f16), fp8, int8, fp4: 1e12 a second */
} simt_clock;

/* What was submitted since the program began; kernels: not those in graphs; calls: that may fail,
 * since the last simt_faults. */
struct simt_counts {
    long kernels, graphs, calls;
};
struct simt_counts simt_counts(void);

bool simt_checks_races(void); /* this is the race build, where time is dear and order is not */
bool simt_slow(void);         /* the race or the bounds build: time is dear */
bool simt_real(void);         /* no emulator: these tests run on a GPU (tests/gpu/real.c) */

#ifdef __cplusplus
}
#endif

#endif
