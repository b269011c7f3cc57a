/* gpu_load.c - how fast weights reach a GPU, beside what the bus and the disk give.
 *
 *     gpu_load --folder DIR [--mib N] [--seconds N] [--turns N] [--tiny]
 *
 * A file of N MiB is made in DIR and read through a map, as a model's is, by the backend's own
 * packing: from the page cache, where the bus is the bound, and after the cache was dropped, where
 * it is the slower of bus and disk. The bus: copies of pinned memory. The disk: eight threads, each
 * reading pieces of a megabyte, past the page cache or through it, whichever is faster. Turns
 * interleave what is compared, and stop when the seconds are up. Where the cache cannot be
 * dropped, a note says so. Each line has the share of its bound and the processor's
 * seconds for 10^9 bytes; medians count. With SIMT_IDLE=2 the emulator's copies cost nothing, and
 * what remains is the host's own rate. */
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "kernels/backend.h"
#include "kernels/base/clock.h"
#include "kernels/base/median.h"
#include "kernels/base/mem.h"
#include "kernels/base/rng.h"
#include "kernels/base/thread.h"
#include "kernels/cuda/cuda.h"
#include "tests/gpu/measure.h"

enum { PIECE = 1 << 20, COLUMNS = 4096, ITEMS_MAX = 4096, READERS = 8, TURNS_MAX = 15 };
static const size_t item_bytes = (size_t)16 << 20, thread_bytes = (size_t)32 << 20;

static struct bench {
    char path[1024];
    size_t bytes;
    struct device *dev;
    struct device_info info;
    void *weights;
    double bus; /* 10^9 bytes a second, as all rates */
    int turns;
    bool tiny;
} b;

/* What one way of loading took in each turn. */
struct turns {
    int n;
    double rate[TURNS_MAX], bound[TURNS_MAX], cpu[TURNS_MAX]; /* cpu: seconds for 10^9 bytes */
};

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

static void measure_bus(void)
{
    const size_t most = (size_t)256 << 20;
    struct upload u = {.bytes = b.bytes < most ? b.bytes : most};
    const struct effort e = effort_of(0.5, b.tiny);
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
    void *piece; /* aligned, as reads past the page cache want it */
    check(big_alloc(PIECE, &piece));
    for (size_t at; (at = atomic_fetch_add(&r->next, PIECE)) < b.bytes;)
        if (pread(r->fd, piece, PIECE, (off_t)at) != PIECE)
            atomic_store(&r->failed, true);
    big_free(piece, PIECE);
    return NULL;
}

/* 0: the file cannot be opened so. */
static double read_file(int flags)
{
    pthread_t thread[READERS];
    struct reading r = {.fd = open(b.path, O_RDONLY | O_CLOEXEC | flags)};
    const int n = READERS;
    double begin = clock_now();
    if (r.fd < 0)
        return 0;
    for (int i = 0; i < n; i++)
        check(thread_start(&thread[i], "read", reader, &r));
    for (int i = 0; i < n; i++)
        pthread_join(thread[i], NULL);
    close(r.fd);
    return r.failed ? 0 : (double)b.bytes * 1e-9 / (clock_now() - begin);
}

static void must_drop_cache(void)
{
    if (!drop_cache())
        check(fail(ERR_IO, "the page cache could be dropped, and now it cannot"));
}

/* With a page cache that holds nothing of the file. Past it first: the memory of a virtual machine
 * may go to its host while it is free, so that whoever takes it next is slow. */
static double measure_disk(void)
{
    must_drop_cache();
    double past = read_file(O_DIRECT);
    must_drop_cache();
    double through = read_file(0);
    if (through == 0 && past == 0)
        check(fail(ERR_IO, "%s cannot be read", b.path));
    return past > through ? past : through;
}

/* ---- and what packing makes of it ------------------------------------------------------------ */

static double cpu_now(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
           1e-6 * (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec);
}

/* Packs the whole file as weights of type t, by batches as the loader's. */
static void pack_file(enum dtype t, double bound, struct turns *o)
{
    static struct tensor src[ITEMS_MAX], dst[ITEMS_MAX];
    static struct choice how[ITEMS_MAX];
    static struct pack_item item[ITEMS_MAX];
    const size_t row = dtype_row_bytes(t, COLUMNS), batch = thread_bytes * (size_t)b.info.threads;
    const size_t most = item_bytes < b.bytes ? item_bytes : b.bytes;
    const int64_t rows = (int64_t)(most / row) / 16 * 16;
    const struct op_case c = {OP_linear, DT_F32, t, 0, rows, COLUMNS};
    struct file_map m;
    size_t done = 0;
    int n = 0;
    check(file_map_open(b.path, &m));
    double begin = clock_now(), cpu = cpu_now();
    for (size_t at = 0, from = 0, out = 0; at + row * (size_t)rows <= b.bytes;) {
        if (n == ITEMS_MAX || !backend_cuda.can(b.dev, &c, &how[n]))
            check(fail(ERR_UNSUPPORTED, "%s is not packed", dtype_info(t)->name));
        src[n] = tensor_2d((void *)(uintptr_t)(m.data + at), t, rows, COLUMNS);
        dst[n].data = (char *)b.weights + out;
        item[n] = (struct pack_item){&src[n], 1, &how[n], &dst[n]};
        out += how[n++].bytes;
        at += row * (size_t)rows;
        done = at;
        if (at - from >= batch || at + row * (size_t)rows > b.bytes) {
            check(backend_cuda.pack_all(b.dev, item, n));
            from = at;
            n = 0;
        }
    }
    double took = clock_now() - begin, gb = (double)done * 1e-9;
    file_map_close(&m);
    o->rate[o->n] = gb / took;
    o->cpu[o->n] = (cpu_now() - cpu) / gb;
    o->bound[o->n++] = bound;
}

static void print_turns(enum dtype t, const char *from, struct turns *o)
{
    double share[TURNS_MAX];
    for (int i = 0; i < o->n; i++)
        share[i] = o->rate[i] / o->bound[i];
    double bound = median_of(o->bound, o->n);
    printf("{\"kind\": \"load\", \"format\": \"%s\", \"from\": \"%s\", \"gbs\": %.4g, \"bound\": "
           "%.4g, \"by\": \"%s\", \"share\": %.4f, \"cpu_s\": %.4g, \"turns\": %d}\n",
           dtype_info(t)->name, from, median_of(o->rate, o->n), bound,
           bound < b.bus ? "disk" : "bus", median_of(share, o->n), median_of(o->cpu, o->n), o->n);
    fflush(stdout);
}

enum { N_TYPES = 4 };
static const enum dtype types[N_TYPES] = {DT_BF16, DT_Q8_0, DT_Q4_0, DT_Q4_K};

static void load_all(bool cold, double seconds)
{
    struct turns o[N_TYPES] = {0};
    const double end = clock_now() + seconds;
    for (int turn = 0; turn < b.turns && (turn == 0 || clock_now() < end); turn++) {
        for (int i = 0; i < N_TYPES; i++) {
            const double disk = cold ? measure_disk() : b.bus;
            if (cold)
                must_drop_cache();
            pack_file(types[i], disk < b.bus ? disk : b.bus, &o[i]);
        }
    }
    for (int i = 0; i < N_TYPES; i++)
        print_turns(types[i], cold ? "disk" : "page cache", &o[i]);
}

int main(int argc, char **argv)
{
    const char *folder = ".";
    const struct device_options o = {.index = 0, .cublaslt = "none"};
    double seconds = 12;
    long mib = 2048, turns = 3;
    for (int i = 1; i < argc; i++) {
        const bool more = i + 1 < argc;
        b.tiny = b.tiny || strcmp(argv[i], "--tiny") == 0;
        if (strcmp(argv[i], "--folder") == 0 && more)
            folder = argv[++i];
        else if (strcmp(argv[i], "--mib") == 0 && more)
            mib = strtol(argv[++i], NULL, 10);
        else if (strcmp(argv[i], "--seconds") == 0 && more)
            seconds = strtod(argv[++i], NULL);
        else if (strcmp(argv[i], "--turns") == 0 && more)
            turns = strtol(argv[++i], NULL, 10);
    }
    snprintf(b.path, sizeof b.path, "%s/load-%d.bin", folder, (int)getpid());
    b.turns = b.tiny ? 1 : turns < 1 ? 1 : turns < TURNS_MAX ? (int)turns : TURNS_MAX;
    b.bytes = b.tiny ? PIECE : (size_t)mib << 20;
    check(backend_cuda.open(&o, &b.dev));
    backend_cuda.info(b.dev, &b.info);
    check(backend_cuda.region(b.dev, REGION_WEIGHTS, b.bytes + b.bytes / 8, &b.weights));
    make_file();
    measure_bus();
    printf("{\"kind\": \"rate\", \"name\": \"page cache to memory\", \"gbs\": %.4g}\n",
           read_file(0));
    load_all(false, seconds / 2);
    if (drop_cache())
        load_all(true, seconds);
    else
        printf(
            "{\"kind\": \"note\", \"text\": \"the page cache of %s cannot be dropped: nothing is "
            "said of the disk\"}\n",
            folder);
    remove(b.path);
    backend_cuda.close(b.dev);
    return 0;
}
