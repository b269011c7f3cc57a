/* gpu_load.c - how fast weights reach a GPU, beside what the bus and the disk give.
 *
 *     gpu_load --folder DIR [--mib N] [--tiny]
 *
 * A file of N MiB is made in DIR and read through a map, as a model's is, by the backend's own
 * packing: from the page cache, where the bus is the bound, and after the cache was dropped, where
 * it is the slower of bus and disk. The bus: copies of pinned memory. The disk: as many threads as
 * the backend has, each reading pieces of a megabyte. Where the cache cannot be dropped, a note
 * says so. Each line has the share of its bound; the median of some runs counts. */
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "kernels/backend.h"
#include "kernels/base/clock.h"
#include "kernels/base/mem.h"
#include "kernels/base/rng.h"
#include "kernels/base/thread.h"
#include "kernels/cuda/cuda.h"
#include "tests/gpu/measure.h"

enum { PIECE = 1 << 20, COLUMNS = 4096, ITEMS_MAX = 4096, THREADS_MAX = 64, TIMES = 3 };
static const size_t item_bytes = (size_t)16 << 20, thread_bytes = (size_t)32 << 20;

static struct bench {
    char path[1024];
    size_t bytes;
    struct device *dev;
    struct device_info info;
    void *weights;
    double bus, disk; /* 10^9 bytes a second; disk 0: not known */
} b;

static void check(enum status s)
{
    if (s == OK)
        return;
    fprintf(stderr, "%s: %s\n", status_name(s), fail_text());
    remove(b.path);
    exit(1);
}

static void make_file(void)
{
    static char piece[PIECE];
    FILE *f = fopen(b.path, "wb");
    for (size_t i = 0; i < sizeof piece; i += sizeof(struct rng_block)) {
        struct rng_block r = rng_philox(1, i, 0);
        memcpy(piece + i, &r, sizeof r);
    }
    bool good = f != NULL;
    for (size_t at = 0; at < b.bytes && good; at += PIECE) {
        memcpy(piece, &at, sizeof at);
        good = fwrite(piece, 1, PIECE, f) == PIECE;
    }
    good = good && fflush(f) == 0 && fsync(fileno(f)) == 0;
    if (f)
        good = fclose(f) == 0 && good;
    if (!good)
        check(fail(ERR_IO, "%s cannot be written", b.path));
}

/* Takes the file out of the page cache; false where that does not work. */
static bool drop_cache(void)
{
    struct file_map m;
    unsigned char *there = xcalloc(b.bytes / 4096 + 1, 1);
    size_t n = 0;
    int fd = open(b.path, O_RDONLY | O_CLOEXEC);
    bool done = fd >= 0 && posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED) == 0;
    if (fd >= 0)
        close(fd);
    check(file_map_open(b.path, &m));
    done = done && mincore((void *)(uintptr_t)m.data, m.size, there) == 0;
    for (size_t i = 0; i < b.bytes / 4096; i++)
        n += there[i] & 1;
    file_map_close(&m);
    xfree(there);
    return done && n * 4096 < b.bytes / 50;
}

/* ---- what there is at most ------------------------------------------------------------------- */

struct upload {
    cudaStream_t stream;
    void *host;
    size_t bytes;
};

static void upload(void *ctx)
{
    struct upload *u = ctx;
    must(cudaMemcpyAsync(b.weights, u->host, u->bytes, cudaMemcpyHostToDevice, u->stream), "copy");
}

static void measure_bus(bool tiny)
{
    const size_t most = (size_t)256 << 20;
    struct upload u = {.bytes = tiny ? PIECE : b.bytes < most ? b.bytes : most};
    const struct effort e = effort_of(0.5, tiny);
    u.stream = ((struct cuda_queue *)backend_cuda.queue(b.dev))->stream;
    must(cudaMallocHost(&u.host, u.bytes), "pinned memory");
    memset(u.host, 0x5a, u.bytes);
    b.bus = (double)u.bytes * 1e-3 / measure(u.stream, &e, upload, &u).us;
    must(cudaFreeHost(u.host), "pinned memory");
}

struct reading {
    int fd;
    atomic_size_t next;
    atomic_bool failed;
};

static void *reader(void *arg)
{
    struct reading *r = arg;
    char *piece = xmalloc(PIECE);
    for (size_t at; (at = atomic_fetch_add(&r->next, PIECE)) < b.bytes;)
        if (pread(r->fd, piece, PIECE, (off_t)at) != PIECE)
            atomic_store(&r->failed, true);
    xfree(piece);
    return NULL;
}

static void measure_disk(void)
{
    pthread_t thread[THREADS_MAX];
    struct reading r = {.fd = open(b.path, O_RDONLY | O_CLOEXEC)};
    int n = b.info.threads < THREADS_MAX ? b.info.threads : THREADS_MAX;
    double begin = clock_now();
    for (int i = 0; i < n; i++)
        check(thread_start(&thread[i], "read", reader, &r));
    for (int i = 0; i < n; i++)
        pthread_join(thread[i], NULL);
    if (r.fd < 0 || r.failed)
        check(fail(ERR_IO, "%s cannot be read", b.path));
    b.disk = (double)b.bytes * 1e-9 / (clock_now() - begin);
    close(r.fd);
}

/* ---- and what packing makes of it ------------------------------------------------------------ */

/* Packs the whole file as weights of type t, by batches as the loader's; seconds. */
static double pack_file(enum dtype t)
{
    static struct tensor src[ITEMS_MAX], dst[ITEMS_MAX];
    static struct choice how[ITEMS_MAX];
    static struct pack_item item[ITEMS_MAX];
    const size_t row = dtype_row_bytes(t, COLUMNS), batch = thread_bytes * (size_t)b.info.threads;
    const size_t most = item_bytes < b.bytes ? item_bytes : b.bytes;
    const int64_t rows = (int64_t)(most / row) / 16 * 16;
    const struct op_case c = {OP_linear, DT_F32, t, 0, rows, COLUMNS};
    struct file_map m;
    int n = 0;
    check(file_map_open(b.path, &m));
    double begin = clock_now();
    for (size_t at = 0, from = 0, out = 0; at + row * (size_t)rows <= b.bytes;) {
        if (n == ITEMS_MAX || !backend_cuda.can(b.dev, &c, &how[n]))
            check(fail(ERR_UNSUPPORTED, "%s is not packed", dtype_info(t)->name));
        src[n] = tensor_2d((void *)(uintptr_t)(m.data + at), t, rows, COLUMNS);
        dst[n].data = (char *)b.weights + out;
        item[n] = (struct pack_item){&src[n], 1, &how[n], &dst[n]};
        out += how[n++].bytes;
        at += row * (size_t)rows;
        if (at - from >= batch || at + row * (size_t)rows > b.bytes) {
            check(backend_cuda.pack_all(b.dev, item, n));
            from = at;
            n = 0;
        }
    }
    double took = clock_now() - begin;
    file_map_close(&m);
    return took;
}

static int by_value(const void *x, const void *y)
{
    double a = *(const double *)x, c = *(const double *)y;
    return (a > c) - (a < c);
}

static void print_share(enum dtype t, bool cold, int times)
{
    double s[TIMES];
    for (int i = 0; i < times; i++) {
        if (cold && !drop_cache())
            check(fail(ERR_IO, "the page cache could be dropped, and now it cannot"));
        s[i] = pack_file(t);
    }
    qsort(s, (size_t)times, sizeof *s, by_value);
    const size_t item =
        dtype_row_bytes(t, COLUMNS) *
        ((item_bytes < b.bytes ? item_bytes : b.bytes) / dtype_row_bytes(t, COLUMNS) / 16 * 16);
    const double rate = (double)(b.bytes / item * item) * 1e-9 / s[times / 2];
    const bool disk = cold && b.disk < b.bus;
    const double bound = disk ? b.disk : b.bus;
    printf("{\"kind\": \"load\", \"format\": \"%s\", \"from\": \"%s\", \"gbs\": %.4g, \"bound\": "
           "%.4g, \"by\": \"%s\", \"share\": %.4f}\n",
           dtype_info(t)->name, cold ? "disk" : "page cache", rate, bound, disk ? "disk" : "bus",
           rate / bound);
    fflush(stdout);
}

int main(int argc, char **argv)
{
    static const enum dtype types[] = {DT_BF16, DT_Q8_0, DT_Q4_0, DT_Q4_K};
    const char *folder = ".";
    const struct device_options o = {.index = 0, .cublaslt = "none"};
    bool tiny = false;
    long mib = 2048;
    for (int i = 1; i < argc; i++) {
        tiny = tiny || strcmp(argv[i], "--tiny") == 0;
        if (strcmp(argv[i], "--folder") == 0 && i + 1 < argc)
            folder = argv[++i];
        else if (strcmp(argv[i], "--mib") == 0 && i + 1 < argc)
            mib = strtol(argv[++i], NULL, 10);
    }
    snprintf(b.path, sizeof b.path, "%s/load-%d.bin", folder, (int)getpid());
    b.bytes = tiny ? PIECE : (size_t)mib << 20;
    check(backend_cuda.open(&o, &b.dev));
    backend_cuda.info(b.dev, &b.info);
    check(backend_cuda.region(b.dev, REGION_WEIGHTS, b.bytes + b.bytes / 8, &b.weights));
    make_file();
    measure_bus(tiny);
    for (int i = 0; i < (int)(sizeof types / sizeof *types); i++)
        print_share(types[i], false, tiny ? 1 : TIMES);
    if (drop_cache()) {
        measure_disk();
        print_share(DT_BF16, true, 1);
        print_share(DT_Q4_K, true, 1);
    } else {
        printf(
            "{\"kind\": \"note\", \"text\": \"the page cache of %s cannot be dropped: nothing is "
            "said of the disk\"}\n",
            folder);
    }
    remove(b.path);
    backend_cuda.close(b.dev);
    return 0;
}
