/* internal.h - shared by the emulator's own sources and its tests. */
#ifndef TESTS_SIMT_INTERNAL_H
#define TESTS_SIMT_INTERNAL_H
#include <cstddef>
#include <cstdint>
#include <string>

namespace simt
{
// Set from the environment at start (SIMT_SCHED, SIMT_SEED, SIMT_THREADS ...), or by tests.
struct Config {
    int sched = 0; // 0 forward (warp by warp), 1 backward, 2 random
    uint64_t seed = 1;
    int os_threads = 1; // blocks run on this many OS threads
    int async_copies =
        0; // cp.async: 0 perform at wait (late), 1 at issue (early), 2 random per copy
    bool lazy_streams =
        false;            // run stream work only when something waits for it, random stream first
    bool protect = false; // device memory is PROT_NONE for host code
    int idle = 0;         // 1: kernels do nothing, 2: nor do copies; to time the host alone
    bool abort_on_error = true; // false: the launch fails with a sticky cudaErrorLaunchFailure
};
extern Config config;
struct Stats {
    uint64_t launches, blocks, threads, switches, collectives, barriers;
};
extern Stats stats;
extern std::string last_report; // text of the last emulator error
bool in_kernel();
std::string fn_name(const void *kernel);
void reset_error_for_tests();
/* arena.cc: device memory */
constexpr size_t kPage = 4096;
void set_access(bool on); /* of the host to it */
struct DeviceAccess {     // the host may touch it only inside such a scope (SIMT_PROTECT=1)
    DeviceAccess();
    ~DeviceAccess();
};
void *dev_alloc(size_t n); /* nullptr: no addresses are left */
bool dev_free(void *p);    /* false: it is no allocation */
bool is_device_ptr(const void *p);
void check_all_canaries();
void large_pages(void *p, size_t n); /* where n is worth them */
size_t bytes_in_use();

unsigned current_thread_id(); // linear thread id in its block
bool current_waited();        // or nothing had to be waited for
} // namespace simt

// Race checker hooks (race.cc); weak, absent unless linked in.
extern "C" {
__attribute__((weak)) void simt_race_block_begin(uint64_t launch, uint64_t block, const void *dyn,
                                                 size_t dyn_bytes, bool overlaps);
__attribute__((weak)) void simt_race_barrier(unsigned thread, uint32_t block_epoch);
__attribute__((weak)) void simt_race_warp_sync(unsigned thread, uint32_t warp_epoch);
__attribute__((weak)) void simt_race_arrived(const void *ticket, bool last);
__attribute__((weak)) void simt_race_access(const void *p, size_t n, int is_write,
                                            const char *what);
}

#endif
