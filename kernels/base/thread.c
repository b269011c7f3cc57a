/* thread.c - threads with names, timed waits, and the number of processors worth using.
 *
 * Two hardware threads of one core share its multipliers, so counting both slows matrix work down;
 * and a cgroup quota stops all threads of a process at once when it is used up, so threads beyond
 * it only wait. */
#include "kernels/base/thread.h"

#include <errno.h>
#include <limits.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "kernels/base/mem.h"

enum { NAME_MAX_BYTES = 16, SMALL_FILE = 64 << 10, CPUS_MAX = 8192 };

struct start {
    char name[NAME_MAX_BYTES]; /* the kernel's limit, with the NUL */
    void *(*fn)(void *);
    void *arg;
};

/* The thread names itself: the starter could be late, and name a handle that is no more. */
static void *begin(void *p)
{
    struct start s = *(struct start *)p;

    xfree(p);
    pthread_setname_np(pthread_self(), s.name);
    return s.fn(s.arg);
}

enum status thread_start(pthread_t *t, const char *name, void *(*fn)(void *), void *arg)
{
    struct start *s = xmalloc(sizeof *s);
    int err;

    snprintf(s->name, sizeof s->name, "%s", name);
    s->fn = fn;
    s->arg = arg;
    err = pthread_create(t, NULL, begin, s);
    if (err) {
        xfree(s);
        return fail(ERR_NO_MEMORY, "cannot start thread %s: %s", name, strerror(err));
    }
    return OK;
}

/* A small file under the root as text, NUL-terminated; false when there is none. /proc and /sys
 * report a size of 0 or a page, so it is read by stdio until its end. */
static bool read_text(const char *root, const char *path, char *text, size_t size)
{
    char full[PATH_MAX];
    size_t n;
    FILE *f;

    if ((size_t)snprintf(full, sizeof full, "%s%s", root, path) >= sizeof full)
        return false;
    f = fopen(full, "re");
    if (!f)
        return false;
    n = fread(text, 1, size - 1, f);
    fclose(f);
    text[n] = '\0';
    return true;
}

/* The first hardware thread of cpu's core: the core's name. Without topology each cpu is a core. */
static int core_of(const char *root, int cpu)
{
    char path[128], text[256];
    long first;
    char *end;

    snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%d/topology/thread_siblings_list", cpu);
    if (!read_text(root, path, text, sizeof text))
        return cpu;
    first = strtol(text, &end, 10);
    return end != text && first >= 0 && first < CPUS_MAX ? (int)first : cpu;
}

/* How many physical cores the affinity mask touches; at least 1. */
static int cores(const char *root)
{
    size_t bytes = CPU_ALLOC_SIZE(CPUS_MAX);
    cpu_set_t *mine = CPU_ALLOC(CPUS_MAX), *seen = CPU_ALLOC(CPUS_MAX);
    int n = 0;

    if (mine && seen && sched_getaffinity(0, bytes, mine) == 0) {
        CPU_ZERO_S(bytes, seen);
        for (int cpu = 0; cpu < CPUS_MAX; cpu++) {
            if (CPU_ISSET_S((size_t)cpu, bytes, mine))
                CPU_SET_S((size_t)core_of(root, cpu), bytes, seen);
        }
        n = CPU_COUNT_S(bytes, seen);
    }
    CPU_FREE(mine);
    CPU_FREE(seen);
    return n > 0 ? n : 1;
}

static int whole_cpus(long long quota, long long period)
{
    long long n;

    if (quota <= 0 || period <= 0) /* -1 and "max": no limit */
        return INT_MAX;
    n = quota / period; /* down: a thread too many is stopped, and the others wait for it */
    if (n < 1)
        n = 1;
    return n < INT_MAX ? (int)n : INT_MAX;
}

/* The quota that one cgroup folder sets, INT_MAX for none. v2: "cpu.max" holds "QUOTA PERIOD". */
static int quota_in(const char *root, const char *folder)
{
    char path[PATH_MAX], text[128];
    long long quota = -1, period = -1;

    snprintf(path, sizeof path, "%s/cpu.max", folder);
    if (read_text(root, path, text, sizeof text)) {
        char *end;

        quota = strtoll(text, &end, 10);
        return end == text ? INT_MAX : whole_cpus(quota, strtoll(end, NULL, 10));
    }
    snprintf(path, sizeof path, "%s/cpu.cfs_quota_us", folder);
    if (read_text(root, path, text, sizeof text))
        quota = strtoll(text, NULL, 10);
    snprintf(path, sizeof path, "%s/cpu.cfs_period_us", folder);
    if (read_text(root, path, text, sizeof text))
        period = strtoll(text, NULL, 10);
    return whole_cpus(quota, period);
}

/* The least quota from mount/path up to mount itself. In a container the path may be the host's and
 * not exist under the mount; the folders that do exist still count, the mount's own always. */
static int quota_up(const char *root, const char *mount, const char *path)
{
    char folder[PATH_MAX];
    size_t stem = strlen(mount);
    int least = INT_MAX;

    if ((size_t)snprintf(folder, sizeof folder, "%s%s", mount, path) >= sizeof folder)
        return INT_MAX;
    for (;;) {
        int q = quota_in(root, folder);
        char *slash = strrchr(folder, '/');

        if (q < least)
            least = q;
        if (strlen(folder) <= stem || !slash)
            return least;
        *slash = '\0';
    }
}

/* Whether a comma-separated list names the cpu controller. */
static bool has_cpu(const char *list)
{
    while (*list) {
        size_t n = strcspn(list, ",");

        if (n == 3 && memcmp(list, "cpu", 3) == 0)
            return true;
        list += n + (list[n] == ',');
    }
    return false;
}

/* The least CPU quota over all cgroup hierarchies. Lines: "0::/path" is v2, "4:cpu,cpuacct:/path"
 * is v1. */
static int quota(const char *root)
{
    char *text = xmalloc(SMALL_FILE), *rest = text, *line;
    int least = INT_MAX;

    if (!read_text(root, "/proc/self/cgroup", text, SMALL_FILE))
        text[0] = '\0';
    while ((line = strsep(&rest, "\n"))) {
        char *id = strsep(&line, ":"), *list = line ? strsep(&line, ":") : NULL;
        const char *mounts[2] = {"/sys/fs/cgroup", "/sys/fs/cgroup/unified"};
        char named[128];

        if (!line || (*list && !has_cpu(list)) || (!*list && strcmp(id, "0") != 0))
            continue;
        snprintf(named, sizeof named, "/sys/fs/cgroup/%.64s", list);
        if (*list) {
            mounts[0] = "/sys/fs/cgroup/cpu";
            mounts[1] = named;
        }
        for (int i = 0; i < 2; i++) {
            int q = quota_up(root, mounts[i], line);

            if (q < least)
                least = q;
        }
    }
    xfree(text);
    return least;
}

int thread_cpus_under(const char *root)
{
    int n = cores(root), q = quota(root);

    return q < n ? q : n;
}

int thread_cpus(void)
{
    return thread_cpus_under("");
}

void cond_init(pthread_cond_t *c)
{
    pthread_condattr_t attr;

    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(c, &attr);
    pthread_condattr_destroy(&attr);
}

int cond_wait_for(pthread_cond_t *c, pthread_mutex_t *m, double seconds)
{
    struct timespec t;
    double whole;

    if (!(seconds > 0))
        seconds = 0;
    if (seconds > 1e9)
        seconds = 1e9; /* thirty years: forever, and no overflow */
    whole = (double)(long long)seconds;
    clock_gettime(CLOCK_MONOTONIC, &t);
    t.tv_sec += (time_t)whole;
    t.tv_nsec += (long)((seconds - whole) * 1e9);
    if (t.tv_nsec >= 1000000000) {
        t.tv_nsec -= 1000000000;
        t.tv_sec++;
    }
    return pthread_cond_timedwait(c, m, &t) != ETIMEDOUT;
}
