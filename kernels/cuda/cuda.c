/* cuda.c - an NVIDIA GPU as a device: memory regions, one stream, fences, graphs.
 *
 * Everything goes to one stream, so ops and copies run in the order of the calls, and a fence is an
 * event behind them. Host memory is staged (ring.h), kernels for weights are chosen (choose.c). The
 * runtime is linked statically and opens the driver itself when it is first asked: on a machine
 * without one, count is 0 and open says why. */
#include "kernels/cuda/cuda.h"

#include <stdio.h>
#include <string.h>

#include "kernels/base/log.h"
#include "kernels/base/mem.h"
#include "kernels/cuda/device.h"
#include "kernels/cuda/driver.h"
#include "kernels/cuda/lt.h"
#include "kernels/cuda/pack.h"
#include "kernels/gpu/registry.h"

enum {
    DRIVER_MIN = 13000,        /* CUDA 13 needs driver 580 or newer */
    RESERVE_BYTES = 256 << 20, /* graphs, modules, what other programs take later */
    RESERVE_WSL = 768 << 20    /* there Windows draws with the same memory, and pages ours out */
};

struct graph {
    cudaGraphExec_t exec;
};

static struct cuda_device *device_of(struct queue *q)
{
    return (struct cuda_device *)q->dev;
}

enum status cuda_check(cudaError_t e, const char *what)
{
    if (e == cudaSuccess)
        return OK;
    return fail(e == cudaErrorMemoryAllocation ? ERR_NO_MEMORY : ERR_DEVICE, "cuda: %s: %s (%s)",
                what, cudaGetErrorString(e), cudaGetErrorName(e));
}

/* --- open and close */

static int cuda_devices(void)
{
    int n = 0;
    driver_find();
    cudaError_t e = cudaGetDeviceCount(&n);
    cudaGetLastError(); /* to have none is no error of the next call */
    return e == cudaSuccess ? n : 0;
}

/* Why the runtime finds no device, for whoever must act. */
static enum status absent(void)
{
    int driver = 0, n = 0;
    cudaError_t e = cudaGetDeviceCount(&n);
    cudaGetLastError();
    if (e == cudaSuccess && n > 0)
        return OK;
    if (e == cudaErrorStubLibrary)
        return fail(ERR_NOT_FOUND,
                    "cuda: the libcuda.so.1 that is found is the toolkit's stub, not "
                    "the NVIDIA driver's: its folder does not belong in "
                    "LD_LIBRARY_PATH");
    if (cudaDriverGetVersion(&driver) != cudaSuccess || driver == 0)
        return fail(ERR_NOT_FOUND, "cuda: no NVIDIA driver is installed (libcuda.so.1 not found)");
    if (driver < DRIVER_MIN)
        return fail(ERR_UNSUPPORTED,
                    "cuda: the NVIDIA driver is for CUDA %d.%d; this program needs 13.0, that is "
                    "driver 580 or newer",
                    driver / 1000, driver % 1000 / 10);
    if (e == cudaSuccess || e == cudaErrorNoDevice)
        return fail(ERR_NOT_FOUND, "cuda: the NVIDIA driver shows no GPU to this process "
                                   "(CUDA_VISIBLE_DEVICES or the container may hide them)");
    return cuda_check(e, "looking for GPUs");
}

static enum status configure(struct cuda_device *d, const struct cudaDeviceProp *p,
                             const struct device_options *o)
{
    struct gpu_sources from = {o->gpu_config, o->gpu_cache, o->strict};
    struct gpu_facts facts;
    cuda_facts(d->dev.index, p, &facts);
    enum status s = gpu_select(&d->arena, &facts, &from, &d->gpu);
    if (s != OK)
        return fail_in(s, "cuda:%d: %s", d->dev.index, d->name);
    gpu_plan_init(&d->queue.plan, &d->gpu.config);
    d->queue.early = facts.cc >= 90 && !d->gpu.config.no_pdl;
    snprintf(d->driver, sizeof d->driver, "%s", facts.driver);
    if (o->gpu_cache && strlen(o->gpu_cache) < sizeof d->cache)
        snprintf(d->cache, sizeof d->cache, "%s", o->gpu_cache);
    return OK;
}

static enum status look(struct cuda_device *d, const struct device_options *o)
{
    struct cudaDeviceProp p;
    int n = cuda_devices(), i = d->dev.index;
    TRY(absent());
    if (i < 0 || i >= n)
        return fail(ERR_NOT_FOUND, "cuda:%d: this process sees %d GPU%s, from cuda:0 on", i, n,
                    n == 1 ? "" : "s");
    TRY(cuda_check(cudaSetDevice(i), "choosing the GPU"));
    TRY(cuda_check(cudaGetDeviceProperties(&p, i), "asking the GPU"));
    /* A multiprocessor divides L1 and shared memory anew only when nothing runs on it: if kernels
     * asked for different shares, none could begin beside the one before it. */
    if (cudaDeviceSetCacheConfig(cudaFuncCachePreferShared) != cudaSuccess)
        cudaGetLastError(); /* a wish: no error of the next call */
    snprintf(d->name, sizeof d->name, "%.95s", p.name);
    d->total_bytes = (int64_t)p.totalGlobalMem;
    d->queue.cc = p.major * 10 + p.minor;
    d->queue.sms = p.multiProcessorCount;
    d->queue.smem_max = (int)p.sharedMemPerBlockOptin;
    if (d->queue.cc < CUDA_CC_MIN)
        return fail(ERR_UNSUPPORTED,
                    "cuda:%d: %s has compute capability %d.%d; CUDA 13 begins at 7.5 (Turing)", i,
                    d->name, p.major, p.minor);
    TRY(cuda_kernels_fit(&d->queue));
    return configure(d, &p, o);
}

static void cuda_close(struct device *dev)
{
    struct cuda_device *d = (struct cuda_device *)dev;
    if (!d || d->ring.stuck) /* who would wait for the GPU now: all is left to the process's end */
        return;
    cudaSetDevice(d->dev.index);
    if (d->queue.stream)
        cudaStreamSynchronize(d->queue.stream);
    for (int i = 0; i < d->n_graphs; i++) {
        cudaGraphExecDestroy(d->graph[i]->exec);
        xfree(d->graph[i]);
    }
    ring_close(&d->ring);
    for (int i = 0; i < N_REGION; i++)
        cudaFree(d->region[i]);
    lt_close(d->queue.lt);
    cudaFree(d->queue.scratch);
    cudaFree(d->queue.tickets);
    if (d->queue.stream)
        cudaStreamDestroy(d->queue.stream);
    gpu_plan_clear(&d->queue.plan);
    arena_clear(&d->arena);
    xfree(d);
    cudaGetLastError(); /* what failed here is no error of another device's next call */
}

/* Of the free memory: what is left alone. */
static int64_t margin(const char *os_release)
{
    char *release = NULL;
    size_t n;
    bool wsl = file_read(os_release, 256, &release, &n) == OK && strstr(release, "microsoft");
    xfree(release);
    return wsl ? RESERVE_WSL : RESERVE_BYTES;
}

/* Of the device, beside the regions. */
static size_t own_bytes(const struct cuda_device *d)
{
    return d->queue.scratch_bytes + CUDA_TICKETS * sizeof *d->queue.tickets;
}

/* What activations are to be rounded to by name, this GPU must multiply. */
static enum status check_rounding(const struct cuda_device *d, const struct device_options *o)
{
    int cc = d->queue.cc, least = o->round_x == X_FP4 ? GPU_FP4_CC : GPU_FP8_CC;
    const char *name = x_type_name(o->round_x);
    if ((o->round_x != X_FP4 && o->round_x != X_FP8) || cc >= least)
        return OK;
    if (o->strict)
        return fail(ERR_UNSUPPORTED,
                    "--strict: --activations %s needs compute capability %d.%d, %s has %d.%d", name,
                    least / 10, least % 10, d->name, cc / 10, cc % 10);
    log_warn("cuda: --activations %s needs compute capability %d.%d, %s has %d.%d: activations "
             "stay as they are",
             name, least / 10, least % 10, d->name, cc / 10, cc % 10);
    return OK;
}

static enum status prepare(struct cuda_device *d, const struct device_options *o)
{
    struct cuda_queue *q = &d->queue;
    arena_init(&d->arena, 0);
    TRY(look(d, o));
    TRY(check_rounding(d, o));
    q->limits = lt_limits(q->cc);
    q->deterministic = o->deterministic;
    q->round_x = o->round_x;
    q->strict = o->strict;
    q->scratch_bytes = q->limits->scratch;
    q->ring = &d->ring;
    d->margin_bytes = margin(o->os_release ? o->os_release : "/proc/sys/kernel/osrelease");
    TRY(lt_open(o->deterministic ? "none" : o->cublaslt, &q->lt));
    if (q->lt) {
        lt_prefer(q->lt, &d->gpu.config);
        lt_count(q->lt, &q->fallbacks);
        lt_wait(q->lt, q->ring);
    }
    if (o->strict && !q->lt && !o->deterministic && !(o->cublaslt && !strcmp(o->cublaslt, "none")))
        return fail(ERR_UNSUPPORTED, "--strict: cublasLt is not found, and prefill would take "
                                     "slower kernels; --cublaslt none asks for them");
    TRY(cuda_check(cudaStreamCreateWithFlags(&q->stream, cudaStreamNonBlocking), "stream"));
    TRY(ring_open(&d->ring, q->stream));
    if (o->patience > 0)
        d->ring.patience = o->patience;
    cudaError_t e = cudaMalloc(&q->scratch, q->scratch_bytes);
    if (e == cudaErrorMemoryAllocation)
        return fail(ERR_NO_MEMORY, "cuda:%d: %s has less than %zu MiB free", d->dev.index, d->name,
                    q->scratch_bytes >> 20);
    TRY(cuda_check(e, "scratch memory"));
    TRY(cuda_check(cudaMalloc((void **)&q->tickets, CUDA_TICKETS * sizeof *q->tickets), "tickets"));
    return cuda_check(cudaMemsetAsync(q->tickets, 0, CUDA_TICKETS * sizeof *q->tickets, q->stream),
                      "tickets");
}

static enum status cuda_open(const struct device_options *o, struct device **out)
{
    struct cuda_device *d = xcalloc(1, sizeof *d);
    d->dev.backend = &backend_cuda;
    d->dev.index = o->index;
    d->queue.queue.dev = &d->dev;
    enum status s = prepare(d, o);
    if (s != OK) {
        cuda_close(&d->dev);
        return s;
    }
    *out = &d->dev;
    return OK;
}

static void cuda_info(const struct device *dev, struct device_info *info)
{
    const struct cuda_device *d = (const struct cuda_device *)dev;
    size_t free_bytes = 0, total = 0;
    enum status fault = d->ring.fault;
    if (fault == OK) /* one that hangs would not answer */
        cudaSetDevice(dev->index);
    if (fault == OK && cudaMemGetInfo(&free_bytes, &total) != cudaSuccess)
        fault = ERR_DEVICE;
    *info = (struct device_info){.backend = "cuda",
                                 .total_bytes = d->total_bytes,
                                 .margin_bytes = d->margin_bytes,
                                 .own_bytes = (int64_t)own_bytes(d),
                                 .threads = cuda_pack_threads(),
                                 .page_tokens = CUDA_PAGE_TOKENS,
                                 .kv_dtype = DT_BF16,
                                 .fault = fault};
    info->gpu = &d->gpu;
    info->fallbacks = &d->queue.fallbacks;
    bool lt = d->queue.lt && !d->queue.deterministic && !(d->queue.refused & CUDA_NO_LT);
    info->lt = lt ? lt_version(d->queue.lt) : 0;
    if ((int64_t)free_bytes > d->margin_bytes)
        info->free_bytes = (int64_t)free_bytes - d->margin_bytes;
    snprintf(info->name, sizeof info->name, "%s", d->name);
    snprintf(info->isa, sizeof info->isa, "sm_%d", d->queue.cc);
}

static struct queue *cuda_queue(struct device *dev)
{
    return &((struct cuda_device *)dev)->queue.queue;
}

static enum status cuda_region(struct device *dev, enum region which, size_t bytes, void **out)
{
    static const char *const names[N_REGION] = {"weights", "KV", "rows", "workspace"};
    struct cuda_device *d = (struct cuda_device *)dev;
    size_t size = bytes ? bytes : 1, free_bytes = 0, total = 0;
    if (d->region[which])
        return fail(ERR_INTERNAL, "cuda region %s: taken twice", names[which]);
    TRY(cuda_check(cudaSetDevice(dev->index), "choosing the GPU"));
    cudaError_t e = cudaMalloc(&d->region[which], size);
    if (e == cudaErrorMemoryAllocation) {
        cudaGetLastError(); /* it is no fault of the device */
        cudaMemGetInfo(&free_bytes, &total);
        return fail(ERR_NO_MEMORY, "cuda:%d: %s need %zu bytes (%.1f MiB), %.1f MiB of %s are free",
                    dev->index, names[which], bytes, (double)bytes / (1 << 20),
                    (double)free_bytes / (1 << 20), d->name);
    }
    TRY(cuda_check(e, names[which]));
    TRY(cuda_check(cudaMemsetAsync(d->region[which], 0, size, d->queue.stream), names[which]));
    *out = d->region[which];
    return OK;
}

/* --- queue */

static enum status cuda_copy(struct queue *q, void *dst, const void *src, size_t bytes,
                             enum copy_dir dir)
{
    struct cuda_device *d = device_of(q);
    if (bytes == 0)
        return OK;
    if (dir == COPY_ON_DEVICE)
        return cuda_check(
            cudaMemcpyAsync(dst, src, bytes, cudaMemcpyDeviceToDevice, d->queue.stream),
            "copy on the device");
    if (d->capturing)
        return fail(ERR_INTERNAL, "cuda: a graph cannot hold a copy of host memory");
    return dir == COPY_TO_DEVICE ? ring_upload(&d->ring, dst, src, bytes)
                                 : ring_download(&d->ring, dst, src, bytes);
}

static enum status cuda_record(struct queue *q, struct fence *f)
{
    return ring_record(&device_of(q)->ring, &f->ticket);
}

static bool cuda_done(struct queue *q, const struct fence *f)
{
    return ring_done(&device_of(q)->ring, f->ticket);
}

static enum status cuda_wait(struct queue *q, const struct fence *f)
{
    struct ring *r = &device_of(q)->ring;
    TRY(ring_wait(r, f->ticket));
    return r->fault == OK ? OK : fail(ERR_DEVICE, "cuda: the GPU reported an error before");
}

/* Graphs belong to the device until it is closed. */
static enum status end_capture(struct cuda_device *d, struct graph **out)
{
    cudaGraph_t g;
    cudaGraphExec_t exec;
    d->capturing = false;
    cudaError_t e = cudaStreamEndCapture(d->queue.stream, &g);
    if (e == cudaSuccess) {
        e = cudaGraphInstantiate(&exec, g, 0);
        cudaGraphDestroy(g);
    }
    if (e != cudaSuccess)
        cudaGetLastError(); /* it is not the next call's */
    TRY(cuda_check(e, "making a graph"));
    *out = d->graph[d->n_graphs++] = xcalloc(1, sizeof **out);
    (*out)->exec = exec;
    return OK;
}

static enum status cuda_capture(struct queue *q, bool on, struct graph **out)
{
    struct cuda_device *d = device_of(q);
    if (!on)
        return end_capture(d, out);
    if (d->n_graphs == CUDA_GRAPHS_MAX)
        return fail(ERR_NO_MEMORY, "cuda: %d graphs are made, and no more are kept",
                    CUDA_GRAPHS_MAX);
    TRY(cuda_check(cudaStreamBeginCapture(d->queue.stream, cudaStreamCaptureModeThreadLocal),
                   "capture"));
    d->capturing = true;
    return OK;
}

static enum status cuda_replay(struct queue *q, struct graph *g)
{
    return cuda_check(cudaGraphLaunch(g->exec, device_of(q)->queue.stream), "graph");
}

static void cuda_forget(struct queue *q, struct graph *g)
{
    struct cuda_device *d = device_of(q);
    for (int i = 0; i < d->n_graphs; i++)
        if (d->graph[i] == g) {
            cudaGraphExecDestroy(g->exec);
            xfree(g);
            d->graph[i] = d->graph[--d->n_graphs];
            return;
        }
}

/* The worker's thread, whichever it is, works on this GPU. */
static void cuda_step(struct queue *q, bool begin)
{
    if (begin)
        cudaSetDevice(q->dev->index);
}

/* --- weights */

static enum status cuda_check_all(struct device *dev)
{
    struct cuda_device *d = (struct cuda_device *)dev;
    const struct cuda_used used = d->used; /* the checks ask too */
    char gpu[256];
    snprintf(gpu, sizeof gpu, "%s, sm_%d, %d SM, driver %s", d->name, d->queue.cc, d->queue.sms,
             d->driver);
    TRY(cuda_check(cudaSetDevice(dev->index), "choosing the GPU"));
    return cuda_self_check(&d->queue, &used, gpu, d->cache[0] ? d->cache : NULL);
}

static enum status cuda_pack_all(struct device *dev, const struct pack_item *item, int n)
{
    struct cuda_device *d = (struct cuda_device *)dev;
    return cuda_pack_items(&d->queue, &d->ring, item, n);
}

static enum status cuda_pack(struct device *dev, const struct tensor *src, int n,
                             const struct choice *c, struct tensor *dst)
{
    const struct pack_item one = {src, n, c, dst};
    return cuda_pack_all(dev, &one, 1);
}

/* Tuning: every product takes this launch. */
static void cuda_force(struct device *dev, const struct gpu_params *p)
{
    struct cuda_queue *q = &((struct cuda_device *)dev)->queue;
    q->plan.forced = p;
    if (p && q->lt)
        lt_begin(q->lt);
}

static int cuda_algorithms(struct device *dev, struct gpu_lt *out, int most)
{
    struct lt *lt = ((struct cuda_device *)dev)->queue.lt;
    return lt ? lt_algorithms(lt, out, most) : 0;
}

static void cuda_force_cut(struct device *dev, const struct gpu_cut *cut)
{
    ((struct cuda_device *)dev)->queue.plan.cut = cut;
}

static enum status cuda_measure(struct device *dev, struct gpu_ceil *out)
{
    struct cuda_device *d = (struct cuda_device *)dev;
    return cuda_ceilings(&d->queue, d->gpu.facts.l2_bytes, out);
}

/* --- ops */

#define CUDA_OP(name, args)                                                                        \
    static enum status run_##name(struct queue *q, const args *a)                                  \
    {                                                                                              \
        return cuda_##name((struct cuda_queue *)q, a);                                             \
    }
CUDA_OP(embed, struct op_embed)
CUDA_OP(rmsnorm, struct op_rmsnorm)
CUDA_OP(linear, struct op_linear)
CUDA_OP(norm_linear, struct op_norm_linear)
CUDA_OP(rope, struct op_rope)
CUDA_OP(kv_write, struct op_kv_write)
CUDA_OP(attention, struct op_attention)
CUDA_OP(glu, struct op_glu)
CUDA_OP(glu_linear, struct op_glu_linear)
CUDA_OP(add, struct op_add)
CUDA_OP(conv1d, struct op_conv1d)
CUDA_OP(gather, struct op_gather)
CUDA_OP(columns, struct op_columns)
CUDA_OP(sample, struct op_sample)
#undef CUDA_OP

static enum status run_rope_kv(struct queue *q, const struct op_rope_kv *a)
{
    struct cuda_queue *own = (struct cuda_queue *)q;
    return own->refused & CUDA_NO_ROPE_KV ? op_compose(q, OP_rope_kv, a) : cuda_rope_kv(own, a);
}

/* The tokens are the caller's only during this call: the device reads them from the ring. */
static enum status run_count(struct queue *q, const struct op_count *a)
{
    struct cuda_device *d = device_of(q);
    struct op_count part = *a;
    if (d->capturing)
        return fail(ERR_INTERNAL, "cuda: a graph cannot hold op count");
    TRY(cuda_check(
        cudaMemsetAsync(a->counts, 0, (size_t)a->n_vocab * sizeof *a->counts, d->queue.stream),
        "count"));
    for (int i = 0; i < a->n; i += part.n) {
        void *at;
        int max = RING_CHUNK / (int)sizeof *a->token;
        part.n = a->n - i < max ? a->n - i : max;
        part.n_prompt = a->n_prompt - i < 0 ? 0 : a->n_prompt - i;
        TRY(ring_take(&d->ring, (size_t)part.n * sizeof *a->token, &at));
        part.token = memcpy(at, a->token + i, (size_t)part.n * sizeof *a->token);
        TRY(cuda_count(&d->queue, &part));
    }
    return OK;
}

const struct backend backend_cuda = {
    .name = "cuda",
    .count = cuda_devices,
    .open = cuda_open,
    .close = cuda_close,
    .info = cuda_info,
    .queue = cuda_queue,
    .region = cuda_region,
    .copy = cuda_copy,
    .record = cuda_record,
    .done = cuda_done,
    .wait = cuda_wait,
    .capture = cuda_capture,
    .replay = cuda_replay,
    .forget = cuda_forget,
    .step = cuda_step,
    .can = cuda_can,
    .many = cuda_many,
    .pack = cuda_pack,
    .pack_all = cuda_pack_all,
    .check = cuda_check_all,
    .force = cuda_force,
    .algorithms = cuda_algorithms,
    .ceilings = cuda_measure,
    .force_cut = cuda_force_cut,
    .ops = {.embed = run_embed,
            .rmsnorm = run_rmsnorm,
            .linear = run_linear,
            .norm_linear = run_norm_linear,
            .rope = run_rope,
            .kv_write = run_kv_write,
            .rope_kv = run_rope_kv,
            .attention = run_attention,
            .glu = run_glu,
            .glu_linear = run_glu_linear,
            .add = run_add,
            .conv1d = run_conv1d,
            .gather = run_gather,
            .columns = run_columns,
            .sample = run_sample,
            .count = run_count},
};
