/* multi.c - several programs in one: `multi NAME ARGUMENTS` is the program NAME. Each would
 * carry the kernels and the engine itself, and four megabytes of them fifteen times are what a
 * bundle does not need. The Makefile gives the names, as PROGRAM(a) PROGRAM(b) ... and TEST(c),
 * whose main takes nothing, and renames each one's main. */
#include <stdio.h>
#include <string.h>

#define PROGRAM(name) int main_##name(int argc, char **argv);
#define TEST(name)    int main_##name(void);
NAMES
#undef PROGRAM
#undef TEST

#define PROGRAM(name) {#name, main_##name, NULL},
#define TEST(name)    {#name, NULL, main_##name},
static const struct {
    const char *name;
    int (*program)(int argc, char **argv);
    int (*test)(void);
} programs[] = {NAMES};

int main(int argc, char **argv)
{
    for (size_t i = 0; i < sizeof programs / sizeof *programs && argc > 1; i++) {
        if (strcmp(argv[1], programs[i].name) != 0)
            continue;
        return programs[i].test ? programs[i].test() : programs[i].program(argc - 1, argv + 1);
    }
    fprintf(stderr, "usage: %s PROGRAM [ARGUMENTS], a program of:", argv[0]);
    for (size_t i = 0; i < sizeof programs / sizeof *programs; i++)
        fprintf(stderr, " %s", programs[i].name);
    fprintf(stderr, "\n");
    return 2;
}
