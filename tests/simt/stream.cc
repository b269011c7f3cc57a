/* stream.cc - streams, events and graphs of the emulated CUDA runtime.
 *
 * Streams: eager by default (work runs when it is submitted); with SIMT_LAZY_STREAMS=1 work
 * is queued and runs only when something waits for it, from a randomly chosen stream, so a
 * missing event wait or a buffer reused too early gives wrong results.
 * Graphs: capture records operations with their dependencies; a launch replays them in
 * capture order, or in a random topological order when SIMT_SCHED=random. */
#include "tests/simt/runtime.h"

#include <chrono>
#include <deque>
#include <memory>
#include <set>
#include <string>
#include <vector>

namespace
{
struct Node {
    std::function<void()> fn;
    std::vector<int> deps;
    std::string kind;
};
} // namespace

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
static uint64_t draw()
{
    static uint64_t state = 88172645463325252ull;
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state;
}
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
        step(c[draw() % c.size()]);
    }
}
static void finish(CUstream_st *s)
{
    must_not_wait();
    s->after_kernel = false;
    run_until([&] { return s->q.empty(); });
}
void drain_all()
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
                finish(o); // legacy default stream
    if (config.lazy_streams && s != &default_stream) {
        s->q.push_back({guarded});
        return;
    }
    guarded();
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
        int i = c[draw() % c.size()];
        n[(size_t)i].fn();
        done[(size_t)i] = 1;
    }
}
bool capturing_any()
{
    if (default_stream.graph)
        return true;
    for (auto *s : streams)
        if (s->graph)
            return true;
    return false;
}
// Work of a forked stream must have been joined: its last node must reach the origin's tail.
static bool joined(CUstream_st *origin)
{
    const std::vector<Node> &nodes = origin->graph->nodes;
    std::vector<char> reach(nodes.size(), 0);
    std::vector<int> todo(origin->tail);
    while (!todo.empty()) {
        const size_t i = (size_t)todo.back();
        todo.pop_back();
        if (!reach[i])
            todo.insert(todo.end(), nodes[i].deps.begin(), nodes[i].deps.end());
        reach[i] = 1;
    }
    for (auto *o : streams)
        for (size_t k = 0; o->graph == origin->graph && k < o->tail.size(); k++)
            if (!reach[(size_t)o->tail[k]])
                return false;
    return true;
}
bool capturing(cudaStream_t s)
{
    return real(s)->graph != nullptr;
}
bool after_kernel(cudaStream_t s)
{
    return real(s)->after_kernel;
}
void drain(cudaStream_t s)
{
    finish(real(s));
}
} // namespace simt

using namespace simt;
extern "C" {
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
    finish(s);
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
    finish(real(s));
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
    if (!gr || !s->origin)
        return err(cudaErrorIllegalState);
    const bool bad = s->bad_capture || !joined(s);
    for (auto *o : streams)
        if (o->graph == gr) {
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
