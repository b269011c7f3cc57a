/* check.c - see check.h: which cases (check_cases.c) a model needs, what follows from a wrong one,
 * and what was found before. */
#include "kernels/cuda/check.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "kernels/base/buf.h"
#include "kernels/base/clock.h"
#include "kernels/base/log.h"
#include "kernels/base/map.h"
#include "kernels/base/mem.h"
#include "kernels/cuda/lab.h"
#include "kernels/cuda/lt.h"
#include "kernels/cuda/ring.h"
#include "kernels/kv_type.h"

enum { FILE_MOST = 4096 };

/* What a kernel may be off by; bf16 in attention is the coarsest. */
#define ALLOWED 2e-2f

/* What takes the place of a case: for products that round x, the path that a prompt's rows get. */
static const char *instead_of(struct cuda_queue *q, int i, enum dtype t, bool row_scaled)
{
    const struct quant says = {.x = x_type_of(t), .row_scale = row_scaled};
    const struct gpu_shape prompt = {t, 2048, 4096, 4096};
    const unsigned before = q->refused;
    if (check_cases[i].instead || !check_cases[i].refuse)
        return check_cases[i].instead;
    q->refused |= check_cases[i].refuse;
    const struct gpu_params p = gpu_plan_get(&q->plan, &prompt, cuda_may(q, t, &says));
    q->refused = before;
    return gpu_path_name(p.path);
}

/* The formats that a case is tried with. */
static uint64_t types_of(int i, const struct cuda_used *used)
{
    const uint64_t fp4 = (uint64_t)1 << DT_NVFP4 | (uint64_t)1 << DT_MXFP4;
    const uint64_t fp8 = (uint64_t)1 << DT_F8_E4M3;
    switch (check_cases[i].times) {
    case EACH_WEIGHT:
        return used->linear;
    case EACH_TABLE:
        return used->tables;
    case EACH_FP8:
        return used->rounded & fp8;
    case EACH_FP8_ROWS:
        return used->rounded & used->row_scaled & fp8;
    case EACH_FP4:
        return used->rounded & fp4;
    case ONCE:
    case EACH_HEADS:
        break;
    }
    return 0;
}

static enum status try_case(struct lab *l, int i, const char *what)
{
    lab_reset(l);
    TRY(check_cases[i].run(l));
    if (l->off <= ALLOWED)
        return OK;
    const float off = l->off;
    const char *instead = instead_of(l->q, i, l->type, l->row_scaled);
    if (l->q->strict && check_cases[i].refuse)
        return fail(ERR_DEVICE,
                    "--strict: kernel %s%s computes wrongly here (off by %.2g of its largest "
                    "result); without it %s would take its place",
                    check_cases[i].name, what, (double)off, instead);
    if (check_cases[i].refuse && !(l->q->refused & check_cases[i].refuse)) {
        l->q->refused |= check_cases[i].refuse;
        lab_reset(l);
        TRY(check_cases[i].run(l));
        if (l->off <= ALLOWED) {
            log_warn("cuda: kernel %s%s computes wrongly here (off by %.2g of its largest result): "
                     "%s takes its place",
                     check_cases[i].name, what, (double)off, instead);
            return OK;
        }
    }
    return fail(ERR_DEVICE,
                "cuda: kernel %s%s computes wrongly on this GPU (off by %.2g of its largest "
                "result), and nothing takes its place",
                check_cases[i].name, what, (double)off);
}

static enum status try_all(struct lab *l, const struct cuda_used *used)
{
    char what[64];
    for (int i = 0; i < n_check_cases; i++) {
        const uint64_t types = types_of(i, used);
        if (check_cases[i].times == ONCE)
            TRY(try_case(l, i, ""));
        for (int t = 0; t < N_DTYPE; t++) {
            l->type = (enum dtype)t;
            l->row_scaled = used->row_scaled >> t & 1;
            snprintf(what, sizeof what, " of %s", dtype_info(l->type)->name);
            if (types >> t & 1)
                TRY(try_case(l, i, what));
        }
        for (int d = 0; d < used->n_heads && check_cases[i].times == EACH_HEADS; d++) {
            l->kv = used->heads[d].kv;
            l->dim = used->heads[d].dim;
            snprintf(what, sizeof what, " of head size %d over %s", l->dim, kv_type_name(l->kv));
            TRY(try_case(l, i, what));
        }
    }
    return OK;
}

static enum status run_checks(struct cuda_queue *q, const struct cuda_used *used)
{
    struct lab l = {.q = q, .b = q->queue.dev->backend, .seed = 1};
    struct device_options scalar = {.threads = 1, .isa = "scalar"};
    struct device *cpu;
    double start = clock_now();
    TRY(cuda_check(cudaMalloc((void **)&l.dev, LAB_ARENA), "memory for the self-check"));
    TRY(backend_cpu.open(&scalar, &cpu));
    l.cpu = backend_cpu.queue(cpu);
    l.host = xmalloc(LAB_ARENA);
    l.back = xmalloc(LAB_ARENA);
    enum status s = try_all(&l, used);
    backend_cpu.close(cpu);
    if (!q->ring->stuck) /* it waits for all that runs */
        cudaFree(l.dev);
    xfree(l.host);
    xfree(l.back);
    if (s == OK)
        log_info("cuda: kernels checked against the CPU in %.0f ms, %.0f of them the CPU's: %d "
                 "results",
                 1000 * (clock_now() - start), 1000 * l.cpu_s, l.compared);
    return s;
}

/* --- what was found before */

/* All that the result depends on: GPU, driver, this program, the formats. */
static void describe(struct buf *b, const struct cuda_used *used, const char *gpu)
{
    struct stat st = {0};
    if (stat("/proc/self/exe", &st) != 0)
        st.st_size = 0;
    buf_printf(b, "inferd self-check 3\n%s\nprogram %lld %lld\nformats %llx %llx %llx %llx\n", gpu,
               (long long)st.st_size, (long long)st.st_mtime, (unsigned long long)used->linear,
               (unsigned long long)used->tables, (unsigned long long)used->rounded,
               (unsigned long long)used->row_scaled);
    for (int i = 0; i < used->n_heads; i++)
        buf_printf(b, "heads of %d over %s\n", used->heads[i].dim, kv_type_name(used->heads[i].kv));
}

static void seal(struct buf *b, unsigned refused)
{
    buf_printf(b, "refused %u\n", refused);
    buf_printf(b, "sum %016llx\n", (unsigned long long)hash_bytes(b->data, b->len, 1));
}

/* Whether the file is what was written for this description, with any result. */
static bool remembered(const char *path, const struct buf *about, unsigned *refused)
{
    char *text = NULL;
    size_t n = 0;
    bool found = false;
    if (file_read(path, FILE_MOST, &text, &n) != OK)
        return false;
    for (unsigned r = 0; r <= CUDA_NO_ALL && !found; r++) {
        struct buf want = {0};
        buf_append(&want, about->data, about->len);
        seal(&want, r);
        found = want.len == n && memcmp(want.data, text, n) == 0;
        *refused = r;
        buf_clear(&want);
    }
    xfree(text);
    return found;
}

/* Whole or not at all; a folder that cannot be written to only costs the next start its time. */
static void remember(const char *where, const char *path, struct buf *about, unsigned refused)
{
    char part[1100];
    snprintf(part, sizeof part, "%s.part", path);
    seal(about, refused);
    mkdir(where, 0777);
    FILE *f = fopen(part, "wb");
    if (!f)
        return;
    bool good = fwrite(about->data, 1, about->len, f) == about->len;
    good = fclose(f) == 0 && good;
    if (!good || rename(part, path) != 0)
        remove(part);
}

/* What was found before holds, and is said at each start. */
static void tell_again(struct cuda_queue *q, const struct cuda_used *used)
{
    for (int i = 0; i < n_check_cases; i++) {
        const uint64_t types = types_of(i, used);
        int t = 0;
        while (t < N_DTYPE - 1 && !(types >> t & 1))
            t++;
        if (check_cases[i].refuse & q->refused)
            log_warn("cuda: kernel %s was found to compute wrongly here: %s takes its place",
                     check_cases[i].name,
                     instead_of(q, i, (enum dtype)t, used->row_scaled >> t & 1));
    }
}

enum status cuda_self_check(struct cuda_queue *q, const struct cuda_used *used, const char *gpu,
                            const char *where)
{
    struct buf about = {0};
    char path[1024] = "";
    enum status s = OK;
    describe(&about, used, gpu);
    buf_printf(&about, "cuBLASLt %d\n", q->lt && !q->deterministic ? lt_version(q->lt) : 0);
    if (where)
        snprintf(path, sizeof path, "%s/check-%016llx", where,
                 (unsigned long long)hash_bytes(about.data, about.len, 0));
    bool known = where && remembered(path, &about, &q->refused);
    if (known && !q->strict)
        tell_again(q, used);
    if (!known || (q->strict && q->refused)) {
        q->refused = 0;
        s = run_checks(q, used);
        if (s == OK && where)
            remember(where, path, &about, q->refused);
    }
    q->fallbacks.kernels = __builtin_popcount(q->refused);
    buf_clear(&about);
    return s;
}
