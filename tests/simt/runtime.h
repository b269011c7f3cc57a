/* runtime.h - what the two halves of the emulated CUDA runtime share: cudart.cc (errors, device,
 * launches, memory) and stream.cc (streams, events, graphs). One lock guards all of it. */
#ifndef TESTS_SIMT_RUNTIME_H
#define TESTS_SIMT_RUNTIME_H

#include "tests/simt/simt.h"

#include <functional>
#include <mutex>

#include "tests/simt/internal.h"
#include "tests/simt/mode.h"

namespace simt
{
extern std::recursive_mutex api_mu;
#define API_LOCK std::lock_guard<std::recursive_mutex> lock_(::simt::api_mu)

/* cudart.cc */
extern cudaError_t sticky; // of the device: no call recovers from it
extern struct simt_faults faults;
extern struct simt_counts counts;
extern bool hung;
cudaError_t err(cudaError_t e); // e, which cudaGetLastError then has
cudaError_t ordered();          // of a call that may fail: what it is ordered to return
#define MAY_FAIL                                                                                   \
    do {                                                                                           \
        cudaError_t ordered_ = ::simt::ordered();                                                  \
        if (ordered_ != cudaSuccess)                                                               \
            return ordered_;                                                                       \
    } while (0)
void must_not_wait(); // nothing that waits for the device comes back once it hangs

/* stream.cc */
/* Every asynchronous operation goes through here, also cublaslt.cc's. */
void enqueue(cudaStream_t stream, const char *kind, std::function<void()> fn);
bool capturing(cudaStream_t s);
bool capturing_any();
bool after_kernel(cudaStream_t s); // what was submitted last, and nobody has waited for it
void drain(cudaStream_t s);        // runs what it has
void drain_all();
} // namespace simt

#endif
