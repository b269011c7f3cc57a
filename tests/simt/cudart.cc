/* cudart.cc - the part of the CUDA runtime API an inference engine uses, on the CPU: errors and
 * ordered faults, the device, launches and memory; stream.cc has the rest.
 * Link instead of libcudart.  An API that is not here is a link error, not a silent no-op.
 *
 * Device memory is arena.cc's. */
#include "tests/simt/runtime.h"

#include <map>
#include <memory>
#include <vector>

struct simt_clock simt_clock;

namespace simt
{
std::recursive_mutex api_mu;
cudaError_t sticky = cudaSuccess;
struct simt_faults faults;
struct simt_counts counts;
bool hung;
static thread_local cudaError_t last_error = cudaSuccess;
static int kernels_left; // until the device breaks, when faults.break_after
static int until_hang;   // kernels, when faults.hang_after
static size_t memory_size()
{
    return faults.memory ? faults.memory : size_t(8) << 30;
}
cudaError_t err(cudaError_t e)
{
    if (e != cudaSuccess)
        last_error = e;
    return e;
}

cudaError_t ordered()
{
    counts.calls++;
    if (faults.fail_call == 0 || counts.calls != faults.fail_call)
        return cudaSuccess;
    if (faults.lost)
        sticky = cudaErrorIllegalAddress;
    return err(faults.lost ? sticky : cudaErrorMemoryAllocation);
}
void must_not_wait()
{
    if (hung) {
        std::fprintf(stderr, "simt: the host waits for a kernel that never ends\n");
        std::abort();
    }
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
    counts.kernels += !capturing(s);
    std::shared_ptr<void> copy(::operator new(size), [](void *p) { ::operator delete(p); });
    std::memcpy(copy.get(), closure, size);
    LaunchDesc dd = d;
    dd.overlaps = d.early && after_kernel(s);
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
static std::map<const char *, size_t> pinned;
static bool is_pinned(const void *p)
{
    auto it = pinned.upper_bound((const char *)p);
    if (it == pinned.begin())
        return false;
    --it;
    return (const char *)p < it->first + it->second;
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
    *n = faults.devices < 0 || faults.driver != 0 ? 0 : faults.devices > 0 ? faults.devices : 1;
    return err(faults.driver == -2  ? cudaErrorStubLibrary
               : faults.driver != 0 ? cudaErrorInsufficientDriver
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
    return err(d == 0 || d < faults.devices ? cudaSuccess : cudaErrorInvalidDevice);
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
cudaError_t cudaGetDeviceProperties(cudaDeviceProp *p, int device)
{
    const int sm = device == 0 ? simt::sm() : 89;
    std::memset(p, 0, sizeof *p);
    std::snprintf(p->name, sizeof p->name, "SIMT CPU emulator");
    p->major = sm / 10;
    p->minor = sm % 10;
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
    const bool now = !capturing(st);
    if (now && !is_device_ptr(s) &&
        !is_pinned(s)) { // pageable source: staged before the call returns
        auto tmp = std::make_shared<std::vector<char>>((const char *)s, (const char *)s + n);
        enqueue(st, "memcpy", [=] { std::memcpy(d, tmp->data(), n); });
        return cudaSuccess;
    }
    enqueue(st, "memcpy", [=] { std::memmove(d, s, n); });
    if (now && !is_device_ptr(d) && !is_pinned(d))
        drain(st); // pageable target: synchronous
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
}
