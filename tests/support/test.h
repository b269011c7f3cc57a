/* test.h - what every test program includes: cmocka and what it needs before it, and a counted
 * skip. */
#ifndef TESTS_SUPPORT_TEST_H
#define TESTS_SUPPORT_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

/* fail() is ours (kernels/base/status.h); tests end by an assertion. */
#undef fail
#undef fail_msg
#define fail_msg(...)                                                                              \
    do {                                                                                           \
        print_error("ERROR: " __VA_ARGS__);                                                        \
        print_error("\n");                                                                         \
        _fail(__FILE__, __LINE__);                                                                 \
    } while (0)

/* Under the thread sanitizer, ten times slower, only races are looked for: they depend on what
 * threads share, not on formats and values, which are the other builds' to check. */
#ifdef __SANITIZE_THREAD__
enum { RACES_ONLY = 1 };
#else
enum { RACES_ONLY = 0 };
#endif

/* Ends the running test as skipped; the runner counts these and never as a pass. */
#define SKIP(...)                                                                                  \
    do {                                                                                           \
        print_message("SKIP " __VA_ARGS__);                                                        \
        print_message("\n");                                                                       \
        skip();                                                                                    \
    } while (0)

#endif
