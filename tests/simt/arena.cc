/* arena.cc - device memory: host memory from one reserved range of addresses.
 *
 * Every allocation is filled with 0xff (NaN), ends at a guard page and has a checked canary in the
 * alignment slack; what was freed faults. The caller holds api_mu. */
#include "tests/simt/simt.h"
#include "tests/simt/internal.h"

#include <map>
#include <sys/mman.h>
#ifdef SIMT_HAS_ASAN
#include <sanitizer/asan_interface.h>
#endif

namespace simt
{
constexpr size_t kArena = size_t(8) << 30; // of addresses; the tests need a few hundred MiB
struct Alloc {
    size_t size, pages;
    bool in_use;
};
static unsigned char *arena;
static size_t arena_top;
static std::map<unsigned char *, Alloc> allocs;          // by user pointer
static std::multimap<size_t, unsigned char *> free_runs; // pages -> first page
static size_t in_use;
static int open_count;

void set_access(bool on)
{
    for (auto &a : allocs)
        mprotect((unsigned char *)((uintptr_t)a.first / kPage * kPage),
                 (a.second.pages - 1) * kPage, on ? PROT_READ | PROT_WRITE : PROT_NONE);
}
DeviceAccess::DeviceAccess()
{
    if (config.protect && open_count++ == 0)
        set_access(true);
}
DeviceAccess::~DeviceAccess()
{
    if (config.protect && --open_count == 0)
        set_access(false);
}
bool is_device_ptr(const void *p)
{
    return arena && (unsigned char *)p >= arena && (unsigned char *)p < arena + kArena;
}

static void check_canary(unsigned char *p, const Alloc &a)
{
#ifdef SIMT_HAS_ASAN
    (void)p;
    (void)a;
#else
    for (unsigned char *q = p + a.size; (uintptr_t)q % kPage; q++)
        if (*q != 0xA5) {
            std::fprintf(stderr,
                         "simt: out-of-bounds write %zu bytes past a device buffer of %zu bytes\n",
                         (size_t)(q - p - a.size), a.size);
            std::abort();
        }
#endif
}
// Each device that a test opens takes a hundred MiB: by small pages that is most of what it costs.
void large_pages(void *p, size_t n)
{
    if (n >= size_t(4) << 20)
        madvise(p, n, MADV_HUGEPAGE);
}
void *dev_alloc(size_t n)
{
    if (!arena) {
        arena = (unsigned char *)mmap(nullptr, kArena, PROT_NONE,
                                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (arena == MAP_FAILED) {
            arena = nullptr;
            return nullptr;
        }
    }
    size_t pages = (n + kPage - 1) / kPage + 1;
    unsigned char *base;
    auto f = free_runs.find(pages);
    if (f != free_runs.end()) {
        base = f->second;
        free_runs.erase(f);
    } else {
        if (arena_top + pages * kPage > kArena)
            return nullptr;
        base = arena + arena_top;
        arena_top += pages * kPage;
    }
    mprotect(base, (pages - 1) * kPage, PROT_READ | PROT_WRITE);
    unsigned char *p = base + ((pages - 1) * kPage - (n + 255) / 256 * 256);
#ifdef SIMT_HAS_ASAN
    __asan_unpoison_memory_region(base, (pages - 1) * kPage);
#endif
    large_pages(base, (pages - 1) * kPage);
    std::memset(base, 0xA5, (size_t)(p - base));
    std::memset(p, 0xff, n);
    std::memset(p + n, 0xA5, (size_t)(base + (pages - 1) * kPage - (p + n)));
#ifdef SIMT_HAS_ASAN
    __asan_poison_memory_region(p + n, (size_t)(base + (pages - 1) * kPage - (p + n)));
    if (p > base)
        __asan_poison_memory_region(base, (size_t)(p - base));
#endif
    allocs[p] = {n, pages, true};
    in_use += n;
    if (config.protect && !open_count)
        mprotect(base, (pages - 1) * kPage, PROT_NONE);
    return p;
}
bool dev_free(void *v)
{
    auto it = allocs.find((unsigned char *)v);
    if (it == allocs.end())
        return false;
    DeviceAccess open;
    check_canary(it->first, it->second);
    auto *base = (unsigned char *)((uintptr_t)it->first / kPage * kPage);
    mprotect(base, (it->second.pages - 1) * kPage, PROT_NONE); // use after free faults
    madvise(base, (it->second.pages - 1) * kPage, MADV_DONTNEED);
    in_use -= it->second.size;
    free_runs.insert({it->second.pages, base});
    allocs.erase(it);
    return true;
}
void check_all_canaries()
{
    DeviceAccess open;
    for (auto &a : allocs)
        check_canary(a.first, a.second);
}

size_t bytes_in_use()
{
    return in_use;
}
} // namespace simt
