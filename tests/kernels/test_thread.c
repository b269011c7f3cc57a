/* test_thread.c - names, timed waits, and the count of processors over made-up /proc and /sys
 * trees. */
#include "kernels/base/thread.h"

#include <ftw.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kernels/base/clock.h"
#include "tests/support/test.h"

static char root[64];

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st, (void)type, (void)ftw;
    return remove(path);
}

static int make_root(void **state)
{
    (void)state;
    snprintf(root, sizeof root, "build/test_thread.XXXXXX");
    return mkdtemp(root) ? 0 : -1;
}

static int remove_root(void **state)
{
    (void)state;
    return nftw(root, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
}

static void put(const char *path, const char *text)
{
    char full[256];
    FILE *f;

    snprintf(full, sizeof full, "%s%s", root, path);
    for (char *p = full + strlen(root) + 1; *p; p++) {
        if (*p == '/') {
            *p = '\0';
            mkdir(full, 0777);
            *p = '/';
        }
    }
    f = fopen(full, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static void test_quotas(void **state)
{
    int all = thread_cpus_under(root); /* nothing there: every allowed cpu is a core */

    (void)state;
    assert_in_range(all, 1, 8192);
    put("/proc/self/cgroup", "0::/a/b\n");
    put("/sys/fs/cgroup/a/b/cpu.max", "max 100000\n");
    assert_int_equal(thread_cpus_under(root), all);
    put("/sys/fs/cgroup/a/b/cpu.max", "150000 100000\n");
    assert_int_equal(thread_cpus_under(root),
                     1); /* 1.5: a second thread would be stopped half the time */
    put("/sys/fs/cgroup/a/cpu.max", "50000 100000\n"); /* the parent is stricter */
    assert_int_equal(thread_cpus_under(root), 1);
    put("/sys/fs/cgroup/a/cpu.max", "max 100000\n");
    put("/sys/fs/cgroup/a/b/cpu.max", "garbage");
    assert_int_equal(thread_cpus_under(root), all);
    put("/proc/self/cgroup", "0::/not/mounted/here\n"); /* a container: the mount is its own root */
    put("/sys/fs/cgroup/cpu.max", "100000 100000\n");
    assert_int_equal(thread_cpus_under(root), 1);
    put("/sys/fs/cgroup/cpu.max", "max 100000\n");
}

static void test_quotas_v1(void **state)
{
    int all;

    (void)state;
    put("/proc/self/cgroup", "7:cpuset:/x\n4:cpu,cpuacct:/x\n");
    all = thread_cpus_under(root);
    put("/sys/fs/cgroup/cpu,cpuacct/x/cpu.cfs_quota_us", "-1\n");
    put("/sys/fs/cgroup/cpu,cpuacct/x/cpu.cfs_period_us", "100000\n");
    assert_int_equal(thread_cpus_under(root), all);
    put("/sys/fs/cgroup/cpu,cpuacct/x/cpu.cfs_quota_us", "90000\n");
    assert_int_equal(thread_cpus_under(root), 1);
    put("/proc/self/cgroup", "4:cpuacct:/x\n"); /* not the cpu controller */
    assert_int_equal(thread_cpus_under(root), all);
}

static void test_siblings_count_once(void **state)
{
    long cpus = sysconf(_SC_NPROCESSORS_CONF);
    int all;

    (void)state;
    put("/proc/self/cgroup", "");
    all = thread_cpus_under(root);
    for (int cpu = 0; cpu < cpus; cpu++) { /* cpus 2k and 2k+1 are one core */
        char path[128], text[32];

        snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%d/topology/thread_siblings_list",
                 cpu);
        snprintf(text, sizeof text, "%d-%d\n", cpu & ~1, cpu | 1);
        put(path, text);
    }
    assert_in_range(thread_cpus_under(root), (all + 1) / 2, all);
    if (all == 1)
        SKIP("one processor shows nothing about siblings");
    if (all == cpus) /* a mask without holes */
        assert_int_equal(thread_cpus_under(root), (all + 1) / 2);
}

static void test_real_machine(void **state)
{
    (void)state;
    assert_in_range(thread_cpus(), 1, sysconf(_SC_NPROCESSORS_CONF));
}

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t cond;
static int ready; /* under lock */

static void *announce(void *arg)
{
    pthread_getname_np(pthread_self(), arg, 16);
    pthread_mutex_lock(&lock);
    ready = 1;
    pthread_cond_signal(&cond);
    pthread_mutex_unlock(&lock);
    return NULL;
}

static void test_start_and_wait(void **state)
{
    char name[16] = "";
    int in_time = 1;
    pthread_t t;

    (void)state;
    cond_init(&cond);
    pthread_mutex_lock(&lock);
    assert_int_equal(thread_start(&t, "a-name-that-is-too-long", announce, name), OK);
    while (!ready && in_time)
        in_time = cond_wait_for(&cond, &lock, 50);
    assert_true(ready);
    pthread_mutex_unlock(&lock);
    pthread_join(t, NULL);
    assert_string_equal(name, "a-name-that-is-");
    pthread_cond_destroy(&cond);
}

static void test_wait_ends(void **state)
{
    double before = clock_now();

    (void)state;
    cond_init(&cond);
    pthread_mutex_lock(&lock);
    while (cond_wait_for(&cond, &lock, 0.02))
        ; /* a spurious wake-up is not a timeout */
    assert_true(clock_now() - before >= 0.019);
    while (cond_wait_for(&cond, &lock, -5))
        ;
    pthread_mutex_unlock(&lock);
    pthread_cond_destroy(&cond);
    assert_true(clock_unix() > 1700000000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_quotas),
        cmocka_unit_test(test_quotas_v1),
        cmocka_unit_test(test_siblings_count_once),
        cmocka_unit_test(test_real_machine),
        cmocka_unit_test(test_start_and_wait),
        cmocka_unit_test(test_wait_ends),
    };

    return cmocka_run_group_tests(tests, make_root, remove_root);
}
