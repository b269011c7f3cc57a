/* driver.c - runs a LLVMFuzzerTestOneInput without libFuzzer: the corpus, then N seconds of
 * mutation.
 *
 *   build/tests/fuzz/fuzz_json [-seconds=N] [-seed=N] [folder or file ...]
 *
 * Without arguments for inputs it takes tests/fuzz/corpus/<name>/. Mutation is blind (no coverage):
 * it bends, splices and repeats what the corpus has, so a corpus of small valid inputs finds most.
 * No input may take more memory than its size and a constant, whatever it claims: large allocations
 * are added up (kernels/base/mem.h), freed or not.
 *
 * An input that crashes, hangs or trips a sanitizer is written to build/crash-<target> and named;
 * the seed is printed, and with the same seed the same inputs come in the same order. */
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "kernels/base/mem.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
/* There when a sanitizer is linked: it calls back before it ends the process. */
__attribute__((weak)) void __sanitizer_set_death_callback(void (*fn)(void));

enum { INPUT_MAX = 1 << 16, HANG_SECONDS = 20, STEPS_MAX = 8, TAKEN_MAX = 64 << 20 };

struct input {
    uint8_t *data;
    size_t n;
};

static struct input *corpus;
static size_t n_corpus;
static const char *target;     /* "fuzz_json" */
static uint64_t state;         /* of the random numbers; printed as the seed when it starts */
static const uint8_t *current; /* what runs now, for the crash handler */
static size_t current_n;
static _Atomic size_t taken; /* bytes in large allocations since it began */

static uint64_t next_random(void)
{
    uint64_t z = state += 0x9e3779b97f4a7c15u; /* splitmix64 */

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static size_t below(size_t n)
{
    return n ? next_random() % n : 0;
}

/* Only calls that are allowed in a signal handler. */
static void save_current(void)
{
    char path[256] = "build/crash-";
    static const char text[] = "\nthe input is in ";
    int fd;

    strncat(path, target, sizeof path - strlen(path) - 1);
    fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0666);
    if (fd < 0 || write(fd, current, current_n) != (ssize_t)current_n)
        return;
    close(fd);
    if (write(STDERR_FILENO, text, sizeof text - 1) > 0 &&
        write(STDERR_FILENO, path, strlen(path)) > 0 && write(STDERR_FILENO, "\n", 1) > 0)
        return;
}

static void on_signal(int sig)
{
    static const char hang[] = "\nhang: one input ran too long";

    if (sig == SIGALRM && write(STDERR_FILENO, hang, sizeof hang - 1) < 0)
        _exit(2);
    save_current();
    signal(sig, SIG_DFL);
    if (sig == SIGALRM)
        _exit(2);
    raise(sig);
}

static void install_handlers(void)
{
    static const int sigs[] = {SIGABRT, SIGALRM, SIGSEGV, SIGBUS, SIGFPE, SIGILL};
    /* a sanitizer reports the memory faults itself, then calls back */
    size_t n = __sanitizer_set_death_callback ? 2 : sizeof sigs / sizeof *sigs;

    if (__sanitizer_set_death_callback)
        __sanitizer_set_death_callback(save_current);
    for (size_t i = 0; i < n; i++)
        signal(sigs[i], on_signal);
}

static void on_taken(size_t bytes)
{
    if (atomic_fetch_add(&taken, bytes) + bytes <= current_n + TAKEN_MAX)
        return;
    fprintf(stderr, "\n%s: an input of %zu bytes took %zu and more\n", target, current_n,
            (size_t)TAKEN_MAX);
    abort();
}

/* Runs one input from memory of exactly its size, so that a read behind it is seen. */
static void run(const uint8_t *data, size_t n)
{
    uint8_t *exact = malloc(n ? n : 1);

    if (!exact)
        exit(2);
    memcpy(exact, data, n);
    current = exact;
    current_n = n;
    taken = 0;
    alarm(HANG_SECONDS);
    LLVMFuzzerTestOneInput(exact, n);
    alarm(0);
    free(exact);
}

static void add_file(const char *path)
{
    struct input in = {malloc(INPUT_MAX), 0};
    FILE *f = fopen(path, "rb");

    if (!f || !in.data) {
        fprintf(stderr, "%s: cannot read %s\n", target, path);
        exit(2);
    }
    in.n = fread(in.data, 1, INPUT_MAX, f);
    fclose(f);
    corpus = realloc(corpus, (n_corpus + 1) * sizeof *corpus);
    if (!corpus)
        exit(2);
    corpus[n_corpus++] = in;
}

static void add(const char *path)
{
    struct dirent **entry;
    int n =
        scandir(path, &entry, NULL, alphasort); /* sorted: the order decides what a seed means */
    char full[1024];

    if (n < 0) {
        add_file(path);
        return;
    }
    for (int i = 0; i < n; i++) {
        snprintf(full, sizeof full, "%s/%s", path, entry[i]->d_name);
        if (entry[i]->d_name[0] != '.')
            add_file(full);
        free(entry[i]);
    }
    free(entry);
}

/* Replaces data[at, at + old) by n bytes of new; returns the new length. */
static size_t replace(uint8_t *data, size_t len, size_t at, size_t old, const uint8_t *new,
                      size_t n)
{
    if (len - old + n > INPUT_MAX)
        return len;
    memmove(data + at + n, data + at + old, len - at - old);
    memcpy(data + at, new, n);
    return len - old + n;
}

static size_t mutate_once(uint8_t *data, size_t len)
{
    static const int64_t odd[] = {0,         1,         -1,      127,       128,       255,
                                  256,       32767,     65535,   INT32_MAX, INT32_MIN, UINT32_MAX,
                                  INT64_MAX, INT64_MIN, 1 << 20, 1LL << 40};
    const struct input *other = &corpus[below(n_corpus)];
    size_t at = below(len + 1), left = len - at, n = below(left + 1), from = below(other->n + 1);
    uint8_t byte = (uint8_t)next_random();
    int64_t number = odd[below(sizeof odd / sizeof *odd)];
    size_t width = (size_t)1 << below(4), some = below(other->n - from + 1);

    switch (below(8)) {
    case 0: /* a bit */
        if (left)
            data[at] ^= (uint8_t)(1u << below(8));
        return len;
    case 1: /* a byte */
        if (left)
            data[at] = byte;
        return len;
    case 2: /* one byte more */
        return replace(data, len, at, 0, &byte, 1);
    case 3: /* a few less */
        return replace(data, len, at, n < 8 ? n : below(8), &byte, 0);
    case 4: /* a remarkable number */
        return replace(data, len, at, left < width ? left : width, (uint8_t *)&number, width);
    case 5: /* a piece of another input */
        return replace(data, len, at, below(2) ? n : 0, other->data + from, some);
    case 6: /* a piece several times over */
        for (size_t k = below(16), m = n < 64 ? n : below(64); k > 0; k--) {
            uint8_t piece[64];

            memcpy(piece, data + at, m);
            len = replace(data, len, at, 0, piece, m);
        }
        return len;
    default: /* cut off */
        return at;
    }
}

static void mutate_and_run(uint8_t *scratch)
{
    const struct input *in = &corpus[below(n_corpus)];
    size_t n = in->n;

    memcpy(scratch, in->data, n);
    for (size_t k = 1 + below(STEPS_MAX); k > 0; k--)
        n = mutate_once(scratch, n);
    run(scratch, n);
}

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

int main(int argc, char **argv)
{
    uint8_t *scratch = calloc(1, INPUT_MAX);
    double seconds = 2, begin;
    uint64_t seed, runs;
    char folder[256];

    target = strrchr(argv[0], '/') ? strrchr(argv[0], '/') + 1 : argv[0];
    state = (uint64_t)time(NULL) << 20 ^ (uint64_t)getpid();
    for (int i = 1; i < argc; i++) {
        if (strncmp(argv[i], "-seconds=", 9) == 0)
            seconds = strtod(argv[i] + 9, NULL);
        else if (strncmp(argv[i], "-seed=", 6) == 0)
            state = strtoull(argv[i] + 6, NULL, 10);
        else
            add(argv[i]);
    }
    if (!n_corpus) {
        snprintf(folder, sizeof folder, "tests/fuzz/corpus/%s", target + strlen("fuzz_"));
        add(folder);
    }
    if (!n_corpus || !scratch) {
        fprintf(stderr, "%s: no inputs\n", target);
        return 2;
    }
    seed = state;
    printf("%s: seed %llu, %zu inputs\n", target, (unsigned long long)seed, n_corpus);
    fflush(stdout);
    install_handlers();
    mem_watch(on_taken);
    for (size_t i = 0; i < n_corpus; i++)
        run(corpus[i].data, corpus[i].n);
    begin = now();
    for (runs = 0; now() - begin < seconds; runs++)
        mutate_and_run(scratch);
    printf("%s: %llu mutated inputs, ok\n", target, (unsigned long long)runs);
    for (size_t i = 0; i < n_corpus; i++)
        free(corpus[i].data);
    free(corpus);
    free(scratch);
    return 0;
}
