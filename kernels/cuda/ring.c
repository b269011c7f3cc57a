/* ring.c - staging and tickets of a stream. */
#include "kernels/cuda/ring.h"

#include <sched.h>
#include <string.h>

#include "kernels/base/clock.h"
#include "kernels/base/mem.h"
#include "kernels/cuda/cuda.h"

static enum status check(struct ring *r, cudaError_t e, const char *what)
{
    if (e == cudaSuccess)
        return OK;
    if (e != cudaErrorMemoryAllocation) /* that call was refused, the stream goes on */
        r->fault = ERR_DEVICE;
    cudaGetLastError(); /* it would be taken for the next launch's */
    return cuda_check(e, what);
}

enum status ring_open(struct ring *r, cudaStream_t stream)
{
    memset(r, 0, sizeof *r);
    r->stream = stream;
    r->patience = RING_PATIENCE;
    TRY(check(r, cudaMallocHost((void **)&r->base, RING_BYTES), "pinned memory"));
    for (int i = 0; i < RING_EVENTS; i++)
        TRY(check(r, cudaEventCreateWithFlags(&r->event[i], cudaEventDisableTiming), "event"));
    return OK;
}

void ring_close(struct ring *r)
{
    for (int i = 0; i < RING_EVENTS; i++)
        if (r->event[i])
            cudaEventDestroy(r->event[i]);
    if (r->base)
        cudaFreeHost(r->base);
    xfree(r->download);
    memset(r, 0, sizeof *r);
}

/* --- tickets */

/* Ticket `t` has ended, and with it all before: hands out downloads, frees what they used. */
static void finish(struct ring *r, uint64_t t)
{
    int kept = 0;
    for (int i = 0; i < r->n_download; i++) {
        const struct ring_download *d = &r->download[i];
        if (d->ticket <= t)
            memcpy(d->dst, d->src, d->bytes);
        else
            r->download[kept++] = *d;
    }
    r->n_download = kept;
    r->finished = t;
    r->tail = r->mark[t % RING_EVENTS];
}

static cudaError_t look(cudaEvent_t event, cudaStream_t stream)
{
    return event ? cudaEventQuery(event) : cudaStreamQuery(stream);
}

/* Until the event has come, or without one all in the stream, as the driver's own wait does it:
 * without sleep. */
static enum status await(struct ring *r, cudaEvent_t event, cudaStream_t stream)
{
    cudaError_t e = look(event, stream);
    for (double end = clock_now() + r->patience; e == cudaErrorNotReady; e = look(event, stream)) {
        cudaGetLastError(); /* it would be taken for the next launch's */
        if (!r->stuck && clock_now() < end) {
            sched_yield();
            continue;
        }
        r->fault = ERR_DEVICE;
        r->stuck = true;
        return fail(ERR_DEVICE, "cuda: the GPU has ended nothing for %g s", r->patience);
    }
    return check(r, e, "wait");
}

enum status ring_wait(struct ring *r, uint64_t ticket)
{
    if (ticket <= r->finished)
        return OK;
    TRY(await(r, r->event[ticket % RING_EVENTS], NULL));
    finish(r, ticket);
    return OK;
}

bool ring_done(struct ring *r, uint64_t ticket)
{
    if (ticket <= r->finished)
        return true;
    cudaError_t e = cudaEventQuery(r->event[ticket % RING_EVENTS]);
    if (e == cudaErrorNotReady) {
        cudaGetLastError(); /* it would be taken for the next launch's */
        return false;
    }
    if (check(r, e, "query") == OK)
        finish(r, ticket);
    return true;
}

enum status ring_record(struct ring *r, uint64_t *ticket)
{
    uint64_t t = r->ticket + 1;
    if (t > RING_EVENTS)
        TRY(ring_wait(r, t - RING_EVENTS)); /* its event is recorded anew */
    TRY(check(r, cudaEventRecord(r->event[t % RING_EVENTS], r->stream), "record"));
    r->mark[t % RING_EVENTS] = r->head;
    r->ticket = t;
    if (ticket)
        *ticket = t;
    return OK;
}

enum status ring_drain(struct ring *r)
{
    uint64_t last;
    TRY(ring_record(r, &last));
    return ring_wait(r, last);
}

enum status ring_await(struct ring *r, cudaStream_t stream)
{
    return await(r, NULL, stream);
}

/* --- memory */

enum status ring_take(struct ring *r, size_t bytes, void **out)
{
    size_t size = (bytes + RING_ALIGN - 1) / RING_ALIGN * RING_ALIGN, at = r->head % RING_BYTES;
    if (size > RING_CHUNK)
        return fail(ERR_INTERNAL, "staging: %zu bytes at once", bytes);
    if (at + size > RING_BYTES) { /* in one piece: the rest of this round is left */
        r->head += RING_BYTES - at;
        at = 0;
    }
    while (r->head + size - r->tail > RING_BYTES) {
        if (r->finished == r->ticket)
            TRY(ring_record(r, NULL));
        TRY(ring_wait(r, r->finished + 1));
    }
    *out = r->base + at;
    r->head += size;
    return OK;
}

enum status ring_upload(struct ring *r, void *device, const void *host, size_t bytes)
{
    for (size_t done = 0; done < bytes;) {
        size_t n = bytes - done < RING_CHUNK ? bytes - done : RING_CHUNK;
        void *at;
        TRY(ring_take(r, n, &at));
        memcpy(at, (const char *)host + done, n);
        TRY(check(r,
                  cudaMemcpyAsync((char *)device + done, at, n, cudaMemcpyHostToDevice, r->stream),
                  "upload"));
        done += n;
    }
    return OK;
}

enum status ring_download(struct ring *r, void *host, const void *device, size_t bytes)
{
    for (size_t done = 0; done < bytes;) {
        size_t n = bytes - done < RING_CHUNK ? bytes - done : RING_CHUNK;
        void *at;
        TRY(ring_take(r, n, &at));
        TRY(check(
            r,
            cudaMemcpyAsync(at, (const char *)device + done, n, cudaMemcpyDeviceToHost, r->stream),
            "download"));
        if (r->n_download == r->max_download) {
            r->max_download = 2 * r->max_download + 16;
            r->download = xrealloc(r->download, sizeof *r->download * (size_t)r->max_download);
        }
        r->download[r->n_download++] =
            (struct ring_download){(char *)host + done, at, n, r->ticket + 1};
        done += n;
    }
    return OK;
}
