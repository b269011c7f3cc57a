/* ring.h - pinned host memory between the engine and a stream, and the tickets that say how far the
 * stream has come.
 *
 * Only pinned memory is copied without a wait, and the engine's is not pinned: uploads are copied
 * into the ring first, downloads land in it and are handed out when their ticket is done. A ticket
 * is an event recorded in the stream; tickets end in order, and a piece of the ring is free again
 * when the first ticket after its use has ended. One thread uses a ring.
 *
 * A wait asks again and again instead of going to sleep in the driver: of a GPU that hangs the
 * driver's own wait would tell nobody. After `patience` the ring is stuck, and nothing may wait for
 * the stream any more, not even to give memory back. */
#ifndef KERNELS_CUDA_RING_H
#define KERNELS_CUDA_RING_H

#include <cuda_runtime_api.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/base/status.h"

enum {
    RING_BYTES = 32 << 20,
    RING_CHUNK = RING_BYTES / 4,
    RING_EVENTS = 64,
    RING_ALIGN = 256,
    RING_PATIENCE = 120
};

struct ring_download { /* what waits in the ring for its ticket */
    void *dst;
    const void *src;
    size_t bytes;
    uint64_t ticket;
};

struct ring {
    cudaStream_t stream;
    char *base;          /* pinned, RING_BYTES */
    uint64_t head, tail; /* bytes ever taken, bytes ever given back */
    cudaEvent_t event[RING_EVENTS];
    uint64_t mark[RING_EVENTS]; /* head when a ticket was recorded */
    uint64_t ticket, finished;  /* last one recorded, last one known to have ended */
    struct ring_download *download;
    int n_download, max_download;
    enum status fault; /* sticky: the first error that the stream reported, or silence */
    double patience;   /* seconds; set by whoever opened the ring */
    bool stuck;
};

enum status ring_open(struct ring *r, cudaStream_t stream);
void ring_close(struct ring *r);

enum status ring_upload(struct ring *r, void *device, const void *host, size_t bytes);
enum status ring_download(struct ring *r, void *host, const void *device, size_t bytes);
/* At most RING_CHUNK bytes that the device may read at this very address until the next ticket. */
enum status ring_take(struct ring *r, size_t bytes, void **out);

enum status ring_record(struct ring *r, uint64_t *ticket);
bool ring_done(struct ring *r, uint64_t ticket); /* true too when the stream is broken: see wait */
enum status ring_wait(struct ring *r, uint64_t ticket);
enum status ring_drain(struct ring *r); /* until all has ended: the ring is empty */
/* Until all has ended that was submitted to a stream, which may be another; takes no ticket. */
enum status ring_await(struct ring *r, cudaStream_t stream);

#endif
