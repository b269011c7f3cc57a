/* cudart.cc - the part of the CUDA runtime API an inference engine uses, on the CPU.
 * Link instead of libcudart.  An API that is not here is a link error, not a silent no-op.
 *
 * Device memory is arena.cc's.
 * Streams: eager by default (work runs when it is submitted); with SIMT_LAZY_STREAMS=1 work
 * is queued and runs only when something waits for it, from a randomly chosen stream, so a
 * missing event wait or a buffer reused too early gives wrong results.
 * Graphs: capture records operations with their dependencies; a launch replays them in
 * capture order, or in a random topological order when SIMT_SCHED=random. */
#include "tests/simt/simt.h"
#include "tests/simt/internal.h"
#include "tests/simt/mode.h"

#include <chrono>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

struct simt_clock simt_clock;

namespace simt
{
std::recursive_mutex api_mu;
#define API_LOCK std::lock_guard<std::recursive_mutex> lock_(::simt::api_mu)
static thread_local cudaError_t last_error = cudaSuccess;
static cudaError_t sticky = cudaSuccess;
static struct simt_faults faults;
static struct simt_counts counts;
static int kernels_left; // until the device breaks, when faults.break_after
static int until_hang;   // kernels, when faults.hang_after
static bool hung;
static size_t memory_size()
{
    return faults.memory ? faults.memory : size_t(8) << 30;
}
static cudaError_t err(cudaError_t e)
{
    if (e != cudaSuccess)
        last_error = e;
    return e;
}

// Of a call that may fail: what it is ordered to return.
static cudaError_t ordered()
{
    counts.calls++;
    if (faults.fail_call == 0 || counts.calls != faults.fail_call)
        return cudaSuccess;
    if (faults.lost)
        sticky = cudaErrorIllegalAddress;
    return err(faults.lost ? sticky : cudaErrorMemoryAllocation);
}
#define MAY_FAIL                                                                                   \
    do {                                                                                           \
        cudaError_t ordered_ = ::simt::ordered();                                                  \
        if (ordered_ != cudaSuccess)                                                               \
            return ordered_;                                                                       \
    } while (0)
// Nothing that waits for the device comes back once it hangs.
static void must_not_wait()
{
    if (hung) {
        std::fprintf(stderr, "simt: the host waits for a kernel that never ends\n");
        std::abort();
    }
}

/* --- streams, events, graphs */
struct Node {
    std::function<void()> fn;
    std::vector<int> deps;
    std::string kind;
};
} // namespace simt
using simt::Node;

struct CUgraph_st {
    std::vector<Node> nodes;
};
struct CUgraphExec_st {
    std::vector<Node> nodes;
};
struct CUevent_st {
    uint64_t seq = 0, done = 0;
    std::chrono::steady_clock::time_point t{};
    double us = 0; // by simt_clock
    CUgraph_st *graph = nullptr;
    std::vector<int> tail;
};
struct StreamOp {
    std::function<void()> fn;
    CUevent_st *wait = nullptr;
    uint64_t seq = 0;
};
struct CUstream_st {
    std::deque<StreamOp> q;
    bool nonblocking = false;
    bool bad_capture = false;
    CUgraph_st *graph = nullptr;
    bool origin = false;
    bool after_kernel = false; // what was submitted last, and nobody has waited for it
    std::vector<int> tail;
};

namespace simt
{
static std::set<CUstream_st *> streams;
static CUstream_st default_stream;
static uint64_t stream_rng = 88172645463325252ull;
static CUstream_st *real(cudaStream_t s)
{
    return (s == nullptr || s == cudaStreamLegacy || s == cudaStreamPerThread) ? &default_stream
                                                                               : s;
}

static bool runnable(CUstream_st *s)
{
    return !s->q.empty() && (!s->q.front().wait || s->q.front().wait->done >= s->q.front().seq);
}
static void step(CUstream_st *s)
{
    StreamOp op = std::move(s->q.front());
    s->q.pop_front();
    if (op.fn)
        op.fn();
}
template <class P> static void run_until(P done)
{
    while (!done()) {
        std::vector<CUstream_st *> c;
        for (auto *s : streams)
            if (runnable(s))
                c.push_back(s);
        if (runnable(&default_stream))
            c.push_back(&default_stream);
        if (c.empty()) {
            std::fprintf(stderr, "simt: streams wait for each other (deadlock)\n");
            std::abort();
        }
        stream_rng ^= stream_rng << 13;
        stream_rng ^= stream_rng >> 7;
        stream_rng ^= stream_rng << 17;
        step(c[stream_rng % c.size()]);
    }
}
static void drain(CUstream_st *s)
{
    must_not_wait();
    s->after_kernel = false;
    run_until([&] { return s->q.empty(); });
}
static void drain_all()
{
    must_not_wait();
    for (auto *s : streams)
        s->after_kernel = false;
    default_stream.after_kernel = false;
    run_until([&] {
        for (auto *s : streams)
            if (!s->q.empty())
                return false;
        return default_stream.q.empty();
    });
}

// Every asynchronous operation goes through here (also cublaslt_emu.cc).
void enqueue(cudaStream_t stream, const char *kind, std::function<void()> fn)
{
    API_LOCK;
    CUstream_st *s = real(stream);
    s->after_kernel = strcmp(kind, "kernel") == 0 || (s->after_kernel && !strcmp(kind, "event"));
    const bool idle = (config.idle > 0 && strcmp(kind, "kernel") == 0) ||
                      (config.idle > 1 && strcmp(kind, "memcpy") == 0);
    auto guarded = [idle, fn = std::move(fn)] {
        DeviceAccess open;
        if (!hung && !idle)
            fn();
    };
    if (s->graph) {
        s->graph->nodes.push_back({guarded, s->tail, kind});
        s->tail = {(int)s->graph->nodes.size() - 1};
        return;
    }
    if (s == &default_stream)
        for (auto *o : streams)
            if (!o->nonblocking)
                drain(o); // legacy default stream
    if (config.lazy_streams && s != &default_stream) {
        s->q.push_back({guarded});
        return;
    }
    guarded();
}

struct FnAttr {
    int max_dyn = 48 << 10;
    bool asked = false;
};
static std::map<const void *, FnAttr> fn_attr;

void submit_kernel(cudaStream_t s, const LaunchDesc &d, void (*thunk)(const void *),
                   const void *closure, size_t size, void (*)(void *))
{
    API_LOCK;
    uint64_t t = (uint64_t)d.block.x * d.block.y * d.block.z;
    bool bad = t == 0 || t > 1024 || d.block.z > 64 || !d.grid.x || !d.grid.y || !d.grid.z ||
               d.grid.y > 65535 || d.grid.z > 65535;
    if (bad) {
        err(cudaErrorInvalidConfiguration);
        return;
    }
    if (d.smem > (size_t)fn_attr[d.fn].max_dyn) {
        err(cudaErrorInvalidValue);
        return;
    }
    if (sticky != cudaSuccess) {
        err(sticky);
        return;
    }
    if (ordered() != cudaSuccess)
        return;
    counts.kernels += !real(s)->graph;
    std::shared_ptr<void> copy(::operator new(size), [](void *p) { ::operator delete(p); });
    std::memcpy(copy.get(), closure, size);
    LaunchDesc dd = d;
    dd.overlaps = d.early && real(s)->after_kernel;
    enqueue(s, "kernel", [dd, thunk, copy] {
        if (faults.break_after && --kernels_left == 0)
            sticky = cudaErrorIllegalAddress;
        hung |= faults.hang_after && --until_hang == 0;
        if (hung || sticky != cudaSuccess ||
            (faults.idle && strstr(fn_name(dd.fn).c_str(), faults.idle)))
            return;
        run_grid(dd, thunk, copy.get());
        if (!last_report.empty()) {
            sticky = cudaErrorLaunchFailure;
            err(sticky);
        }
    });
}
static void run_nodes(const std::vector<Node> &n)
{
    if (config.sched != 2) {
        for (auto &x : n)
            x.fn();
        return;
    }
    std::vector<char> done(n.size(), 0);
    for (size_t k = 0; k < n.size(); k++) {
        std::vector<int> c;
        for (size_t i = 0; i < n.size(); i++)
            if (!done[i]) {
                bool ok = true;
                for (int d : n[i].deps)
                    ok &= done[(size_t)d] != 0;
                if (ok)
                    c.push_back((int)i);
            }
        stream_rng ^= stream_rng << 13;
        stream_rng ^= stream_rng >> 7;
        stream_rng ^= stream_rng << 17;
        int i = c[stream_rng % c.size()];
        n[(size_t)i].fn();
        done[(size_t)i] = 1;
    }
}
static std::map<const char *, size_t> pinned;
static bool is_pinned(const void *p)
{
    auto it = pinned.upper_bound((const char *)p);
    if (it == pinned.begin())
        return false;
    --it;
    return (const char *)p < it->first + it->second;
}
static bool capturing_any()
{
    if (default_stream.graph)
        return true;
    for (auto *s : streams)
        if (s->graph)
            return true;
    return false;
}
void reset_error_for_tests()
{
    sticky = cudaSuccess;
    last_error = cudaSuccess;
    last_report.clear();
}
} // namespace simt

using namespace simt;
extern "C" {
/* --- errors, device */
cudaError_t cudaGetLastError()
{
    cudaError_t e = last_error;
    last_error = sticky;
    return e;
}
cudaError_t cudaPeekAtLastError()
{
    return last_error;
}
const char *cudaGetErrorName(cudaError_t e)
{
    return e == cudaSuccess                     ? "cudaSuccess"
           : e == cudaErrorLaunchFailure        ? "cudaErrorLaunchFailure"
           : e == cudaErrorMemoryAllocation     ? "cudaErrorMemoryAllocation"
           : e == cudaErrorInvalidConfiguration ? "cudaErrorInvalidConfiguration"
           : e == cudaErrorInvalidValue         ? "cudaErrorInvalidValue"
           : e == cudaErrorIllegalAddress       ? "cudaErrorIllegalAddress"
                                                : "cudaError(emulated)";
}
const char *cudaGetErrorString(cudaError_t e)
{
    return cudaGetErrorName(e);
}
void simt_faults(const struct simt_faults *f)
{
    API_LOCK;
    faults = *f;
    fn_attr.clear(); // another GPU, maybe
    kernels_left = f->break_after;
    until_hang = f->hang_after;
    hung = false;
    counts.calls = 0;
    reset_error_for_tests();
}
struct simt_counts simt_counts(void)
{
    API_LOCK;
    return counts;
}
cudaError_t cudaGetDeviceCount(int *n)
{
    *n = faults.devices < 0 || faults.driver != 0 ? 0 : 1;
    return err(faults.driver != 0   ? cudaErrorInsufficientDriver
               : faults.devices < 0 ? cudaErrorNoDevice
                                    : cudaSuccess);
}
cudaError_t cudaGetDevice(int *d)
{
    *d = 0;
    return cudaSuccess;
}
cudaError_t cudaSetDevice(int d)
{
    return err(d == 0 ? cudaSuccess : cudaErrorInvalidDevice);
}
cudaError_t cudaDriverGetVersion(int *v)
{
    *v = faults.driver < 0 ? 0 : faults.driver ? faults.driver : 13000;
    return cudaSuccess;
}
cudaError_t cudaRuntimeGetVersion(int *v)
{
    *v = 13000;
    return cudaSuccess;
}
extern "C++" int simt::sm()
{
    static const char *const s = std::getenv("SIMT_SM");
    static const int usual = s ? (int)std::strtol(s, nullptr, 10) : 89; // mma.sync, no wgmma
    return faults.cc ? faults.cc : usual;
}
cudaError_t cudaGetDeviceProperties(cudaDeviceProp *p, int)
{
    std::memset(p, 0, sizeof *p);
    std::snprintf(p->name, sizeof p->name, "SIMT CPU emulator");
    p->major = simt::sm() / 10;
    p->minor = simt::sm() % 10;
    p->totalGlobalMem = memory_size();
    p->sharedMemPerBlock = 48 << 10;
    p->sharedMemPerBlockOptin = 99 << 10;
    p->sharedMemPerMultiprocessor = 100 << 10;
    p->regsPerBlock = 65536;
    p->warpSize = 32;
    p->maxThreadsPerBlock = 1024;
    p->maxThreadsPerMultiProcessor = 1536;
    p->multiProcessorCount = 4;
    p->maxThreadsDim[0] = p->maxThreadsDim[1] = 1024;
    p->maxThreadsDim[2] = 64;
    p->maxGridSize[0] = 2147483647;
    p->maxGridSize[1] = p->maxGridSize[2] = 65535;
    p->l2CacheSize = 4 << 20;
    p->unifiedAddressing = 1;
    return cudaSuccess;
}
cudaError_t cudaDeviceGetPCIBusId(char *out, int n, int device)
{
    snprintf(out, static_cast<size_t>(n), "0000:%02X:00.0", device + 1);
    return cudaSuccess;
}
cudaError_t cudaDeviceGetAttribute(int *v, cudaDeviceAttr a, int)
{
    cudaDeviceProp p;
    cudaGetDeviceProperties(&p, 0);
    switch (a) {
    case cudaDevAttrComputeCapabilityMajor:
        *v = p.major;
        break;
    case cudaDevAttrComputeCapabilityMinor:
        *v = p.minor;
        break;
    case cudaDevAttrMultiProcessorCount:
        *v = p.multiProcessorCount;
        break;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin:
        *v = (int)p.sharedMemPerBlockOptin;
        break;
    case cudaDevAttrMaxSharedMemoryPerMultiprocessor:
        *v = (int)p.sharedMemPerMultiprocessor;
        break;
    case cudaDevAttrWarpSize:
        *v = 32;
        break;
    default:
        return err(cudaErrorInvalidValue);
    }
    return cudaSuccess;
}
cudaError_t cudaMemGetInfo(size_t *f, size_t *t)
{
    *t = memory_size();
    *f = *t > bytes_in_use() ? *t - bytes_in_use() : 0;
    must_not_wait();
    return err(sticky);
}
cudaError_t cudaFuncGetAttributes(cudaFuncAttributes *a, const void *)
{
    std::memset(a, 0, sizeof *a);
    a->maxThreadsPerBlock = 1024;
    return cudaSuccess;
}
cudaError_t cudaDeviceSetCacheConfig(cudaFuncCache)
{
    return cudaSuccess;
}
cudaError_t cudaFuncSetAttribute(const void *f, cudaFuncAttribute a, int v)
{
    API_LOCK;
    MAY_FAIL;
    if (a == cudaFuncAttributeMaxDynamicSharedMemorySize) {
        // Less than before: a graph that holds a launch with more might not be made or run.
        if (v > (99 << 10) || (fn_attr[f].asked && v < fn_attr[f].max_dyn))
            return err(cudaErrorInvalidValue);
        fn_attr[f] = {v, true};
    }
    return cudaSuccess;
}
cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(int *n, const void *, int block,
                                                          size_t smem)
{
    *n = std::max(1, std::min(1536 / std::max(block, 1), (int)(smem ? (100 << 10) / smem : 16)));
    return cudaSuccess;
}

/* --- memory */
cudaError_t cudaMalloc(void **p, size_t n)
{
    API_LOCK;
    if (capturing_any())
        return err(cudaErrorStreamCaptureUnsupported);
    *p = nullptr;
    if (!n)
        return cudaSuccess;
    MAY_FAIL;
    if (sticky != cudaSuccess)
        return err(sticky);
    if (bytes_in_use() + n > memory_size())
        return err(cudaErrorMemoryAllocation);
    *p = dev_alloc(n);
    return err(*p ? cudaSuccess : cudaErrorMemoryAllocation);
}
cudaError_t cudaFree(void *p)
{
    API_LOCK;
    if (!p)
        return cudaSuccess;
    drain_all();
    return err(dev_free(p) ? cudaSuccess : cudaErrorInvalidValue);
}
cudaError_t cudaMallocHost(void **p, size_t n)
{
    API_LOCK;
    MAY_FAIL;
    const size_t align = n >= size_t(4) << 20 ? size_t(2) << 20 : kPage;
    *p = std::aligned_alloc(align, (n + align - 1) / align * align);
    large_pages(*p, n);
    std::memset(*p, 0xff, n);
    pinned[(const char *)*p] = n;
    return cudaSuccess;
}
cudaError_t cudaHostAlloc(void **p, size_t n, unsigned)
{
    return cudaMallocHost(p, n);
}
cudaError_t cudaFreeHost(void *p)
{
    API_LOCK;
    if (!p)
        return cudaSuccess;
    drain_all();
    if (!pinned.erase((const char *)p))
        return err(cudaErrorInvalidValue);
    std::free(p);
    return cudaSuccess;
}
cudaError_t cudaHostRegister(void *p, size_t n, unsigned)
{
    API_LOCK;
    pinned[(const char *)p] = n;
    return cudaSuccess;
}
cudaError_t cudaHostUnregister(void *p)
{
    API_LOCK;
    return err(pinned.erase((const char *)p) ? cudaSuccess : cudaErrorHostMemoryNotRegistered);
}

static cudaError_t copy_check(void *d, const void *s, cudaMemcpyKind k)
{
    bool dd = is_device_ptr(d), ds = is_device_ptr(s);
    bool ok = k == cudaMemcpyDefault || (k == cudaMemcpyHostToDevice && dd && !ds) ||
              (k == cudaMemcpyDeviceToHost && !dd && ds) ||
              (k == cudaMemcpyDeviceToDevice && dd && ds) ||
              (k == cudaMemcpyHostToHost && !dd && !ds);
    return ok ? cudaSuccess : cudaErrorInvalidValue;
}
cudaError_t cudaMemcpyAsync(void *d, const void *s, size_t n, cudaMemcpyKind k, cudaStream_t st)
{
    API_LOCK;
    if (n == 0)
        return cudaSuccess;
    MAY_FAIL;
    if (sticky != cudaSuccess)
        return err(sticky);
    if (cudaError_t e = copy_check(d, s, k))
        return err(e);
    CUstream_st *q = real(st);
    if (!q->graph && !is_device_ptr(s) &&
        !is_pinned(s)) { // pageable source: staged before the call returns
        auto tmp = std::make_shared<std::vector<char>>((const char *)s, (const char *)s + n);
        enqueue(st, "memcpy", [=] { std::memcpy(d, tmp->data(), n); });
        return cudaSuccess;
    }
    enqueue(st, "memcpy", [=] { std::memmove(d, s, n); });
    if (!q->graph && !is_device_ptr(d) && !is_pinned(d))
        drain(q); // pageable target: synchronous
    return cudaSuccess;
}
cudaError_t cudaMemcpy(void *d, const void *s, size_t n, cudaMemcpyKind k)
{
    API_LOCK;
    if (n == 0)
        return cudaSuccess;
    if (capturing_any())
        return err(cudaErrorStreamCaptureUnsupported);
    if (cudaError_t e = copy_check(d, s, k))
        return err(e);
    enqueue(nullptr, "memcpy", [=] { std::memmove(d, s, n); });
    return err(sticky);
}
cudaError_t cudaMemcpy2DAsync(void *d, size_t dp, const void *s, size_t sp, size_t w, size_t h,
                              cudaMemcpyKind k, cudaStream_t st)
{
    API_LOCK;
    if (cudaError_t e = copy_check(d, s, k))
        return err(e);
    enqueue(st, "memcpy2d", [=] {
        for (size_t i = 0; i < h; i++)
            std::memmove((char *)d + i * dp, (const char *)s + i * sp, w);
    });
    return cudaSuccess;
}
cudaError_t cudaMemsetAsync(void *d, int v, size_t n, cudaStream_t st)
{
    API_LOCK;
    MAY_FAIL;
    if (sticky != cudaSuccess)
        return err(sticky);
    if (!is_device_ptr(d))
        return err(cudaErrorInvalidValue);
    enqueue(st, "memset", [=] { std::memset(d, v, n); });
    return cudaSuccess;
}
cudaError_t cudaMemset(void *d, int v, size_t n)
{
    return cudaMemsetAsync(d, v, n, nullptr);
}

/* --- streams and events */
cudaError_t cudaStreamCreateWithFlags(cudaStream_t *s, unsigned f)
{
    API_LOCK;
    MAY_FAIL;
    *s = new CUstream_st;
    (*s)->nonblocking = f & cudaStreamNonBlocking;
    streams.insert(*s);
    return cudaSuccess;
}
cudaError_t cudaStreamCreate(cudaStream_t *s)
{
    return cudaStreamCreateWithFlags(s, 0);
}
cudaError_t cudaStreamCreateWithPriority(cudaStream_t *s, unsigned f, int)
{
    return cudaStreamCreateWithFlags(s, f);
}
cudaError_t cudaStreamDestroy(cudaStream_t s)
{
    API_LOCK;
    drain(s);
    streams.erase(s);
    delete s;
    return cudaSuccess;
}
cudaError_t cudaStreamSynchronize(cudaStream_t s)
{
    API_LOCK;
    if (real(s)->graph) {
        real(s)->bad_capture = true;
        return err(cudaErrorStreamCaptureUnsupported);
    }
    drain(real(s));
    return err(sticky);
}
cudaError_t cudaStreamQuery(cudaStream_t s)
{
    API_LOCK;
    CUstream_st *q = real(s);
    if (runnable(q))
        step(q);
    if (hung)
        return cudaErrorNotReady;
    return q->q.empty() ? err(sticky) : cudaErrorNotReady;
}
cudaError_t cudaDeviceSynchronize()
{
    API_LOCK;
    if (capturing_any())
        return err(cudaErrorStreamCaptureUnsupported);
    drain_all();
    check_all_canaries();
    return err(sticky);
}
cudaError_t cudaEventCreateWithFlags(cudaEvent_t *e, unsigned)
{
    API_LOCK;
    MAY_FAIL;
    *e = new CUevent_st;
    return cudaSuccess;
}
cudaError_t cudaEventCreate(cudaEvent_t *e)
{
    return cudaEventCreateWithFlags(e, 0);
}
cudaError_t cudaEventDestroy(cudaEvent_t e)
{
    API_LOCK;
    run_until([&] { return hung || e->done >= e->seq; }); /* later, and nobody waits for it */
    delete e;
    return cudaSuccess;
}
cudaError_t cudaEventRecord(cudaEvent_t e, cudaStream_t st)
{
    API_LOCK;
    MAY_FAIL;
    CUstream_st *s = real(st);
    if (s->graph) {
        e->graph = s->graph;
        e->tail = s->tail;
        return cudaSuccess;
    }
    e->graph = nullptr;
    uint64_t seq = ++e->seq;
    enqueue(st, "event", [e, seq] {
        e->done = seq;
        e->t = std::chrono::steady_clock::now();
        e->us = simt_clock.us;
    });
    return cudaSuccess;
}
cudaError_t cudaStreamWaitEvent(cudaStream_t st, cudaEvent_t e, unsigned)
{
    API_LOCK;
    CUstream_st *s = real(st);
    if (e->graph) {
        if (!s->graph) {
            s->graph = e->graph;
            s->tail.clear();
        }
        s->tail.insert(s->tail.end(), e->tail.begin(), e->tail.end());
        return cudaSuccess;
    }
    if (s->graph)
        return err(cudaErrorStreamCaptureIsolation);
    if (e->done < e->seq)
        s->q.push_back({nullptr, e, e->seq});
    return cudaSuccess;
}
cudaError_t cudaEventSynchronize(cudaEvent_t e)
{
    API_LOCK;
    must_not_wait();
    run_until([&] { return e->done >= e->seq; });
    return err(sticky);
}
cudaError_t cudaEventQuery(cudaEvent_t e)
{
    API_LOCK;
    if (hung)
        return e->done >= e->seq ? err(sticky) : cudaErrorNotReady;
    int turns = 0; /* whoever polls lets the device go on by one step */
    run_until([&] { return e->done >= e->seq || turns++ > 0; });
    return e->done >= e->seq ? err(sticky) : cudaErrorNotReady;
}
cudaError_t cudaEventElapsedTime(float *ms, cudaEvent_t a, cudaEvent_t b)
{
    *ms = simt_clock.on ? static_cast<float>((b->us - a->us) / 1000)
                        : std::chrono::duration<float, std::milli>(b->t - a->t).count();
    return cudaSuccess;
}
cudaError_t cudaLaunchHostFunc(cudaStream_t s, cudaHostFn_t f, void *u)
{
    enqueue(s, "hostfn", [=] { f(u); });
    return cudaSuccess;
}

/* --- graphs */
cudaError_t cudaStreamBeginCapture(cudaStream_t s, cudaStreamCaptureMode)
{
    API_LOCK;
    MAY_FAIL;
    if (real(s) == &default_stream)
        return err(cudaErrorStreamCaptureUnsupported);
    s->graph = new CUgraph_st;
    s->origin = true;
    s->after_kernel = false;
    s->tail.clear();
    s->bad_capture = false;
    return cudaSuccess;
}
cudaError_t cudaStreamEndCapture(cudaStream_t s, cudaGraph_t *g)
{
    API_LOCK;
    CUgraph_st *gr = s->graph;
    bool bad = s->bad_capture;
    if (!gr || !s->origin)
        return err(cudaErrorIllegalState);
    // Work of a forked stream must have been joined: its last node must reach the origin's tail.
    std::vector<char> reach(gr->nodes.size(), 0);
    std::vector<int> st(s->tail);
    while (!st.empty()) {
        int i = st.back();
        st.pop_back();
        if (reach[(size_t)i])
            continue;
        reach[(size_t)i] = 1;
        for (int d : gr->nodes[(size_t)i].deps)
            st.push_back(d);
    }
    for (auto *o : streams)
        if (o->graph == gr) {
            if (o != s)
                for (int t : o->tail)
                    bad |= !reach[(size_t)t];
            o->graph = nullptr;
            o->tail.clear();
            o->origin = false;
        }
    if (bad) {
        delete gr;
        *g = nullptr;
        return err(cudaErrorStreamCaptureUnjoined);
    }
    *g = gr;
    return cudaSuccess;
}
cudaError_t cudaStreamIsCapturing(cudaStream_t s, cudaStreamCaptureStatus *c)
{
    *c = real(s)->graph ? cudaStreamCaptureStatusActive : cudaStreamCaptureStatusNone;
    return cudaSuccess;
}
cudaError_t cudaGraphInstantiate(cudaGraphExec_t *x, cudaGraph_t g, unsigned long long)
{
    API_LOCK;
    MAY_FAIL;
    if (faults.no_graphs)
        return err(cudaErrorNotSupported);
    *x = new CUgraphExec_st{g->nodes};
    return cudaSuccess;
}
cudaError_t cudaGraphExecUpdate(cudaGraphExec_t x, cudaGraph_t g, cudaGraphExecUpdateResultInfo *r)
{
    API_LOCK;
    bool same = x->nodes.size() == g->nodes.size();
    for (size_t i = 0; same && i < g->nodes.size(); i++)
        same = x->nodes[i].kind == g->nodes[i].kind && x->nodes[i].deps == g->nodes[i].deps;
    if (r) {
        std::memset(r, 0, sizeof *r);
        r->result = same ? cudaGraphExecUpdateSuccess : cudaGraphExecUpdateErrorTopologyChanged;
    }
    if (!same)
        return err(cudaErrorGraphExecUpdateFailure);
    x->nodes = g->nodes;
    return cudaSuccess;
}
cudaError_t cudaGraphLaunch(cudaGraphExec_t x, cudaStream_t s)
{
    API_LOCK;
    MAY_FAIL;
    counts.graphs++;
    auto n = std::make_shared<std::vector<Node>>(x->nodes);
    enqueue(s, "graph", [n] { run_nodes(*n); });
    return err(sticky);
}
cudaError_t cudaGraphUpload(cudaGraphExec_t, cudaStream_t)
{
    return cudaSuccess;
}
cudaError_t cudaGraphDestroy(cudaGraph_t g)
{
    delete g;
    return cudaSuccess;
}
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t x)
{
    API_LOCK;
    drain_all();
    delete x;
    return cudaSuccess;
}
cudaError_t cudaGraphGetNodes(cudaGraph_t g, cudaGraphNode_t *, size_t *n)
{
    *n = g->nodes.size();
    return cudaSuccess;
}
}
