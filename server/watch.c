/* watch.c - one thread, one epoll: sockets of suspended connections, one timer, one stop event.
 *
 * Entries are found by descriptor number, and an epoll event carries number and serial: an event
 * harvested just before its socket was taken out, closed and its number used again finds another
 * serial and is dropped. The timer is armed for the earliest wake_at and only ever moved earlier by
 * watch_add; when it fires, the table is scanned. Streams re-enter all the time with later times,
 * so that is about one scan a keep-alive period. With no entry nothing is armed: no wake-ups when
 * idle.
 *
 * Only EPOLLRDHUP is asked for, not EPOLLIN: a pipelined request waiting in the socket is not a
 * reason to wake. A client that shuts down only its sending side cannot be told from one that left
 * and counts as gone. */
#include "server/watch.h"

#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "kernels/base/clock.h"
#include "kernels/base/log.h"
#include "kernels/base/mem.h"
#include "kernels/base/thread.h"

struct watch {
    void (*fire)(struct watch_entry *, enum watch_why);
    pthread_t thread;
    int epoll, timer, stop;
    pthread_mutex_t lock; /* guards what follows */
    struct watch_entry **by_fd;
    int n_fd; /* size of by_fd */
    uint32_t serial;
    double armed; /* the timer's time; INFINITY: off */
    bool flushed;
};

/* What an epoll event carries; the two own descriptors have no serial. */
static uint64_t tag(int fd, uint32_t serial)
{
    return (uint64_t)serial << 32 | (uint32_t)fd;
}

/* lock held */
static void arm(struct watch *w, double at)
{
    struct itimerspec t = {0};
    double left = at - clock_now();
    w->armed = at;
    if (isfinite(at)) {
        left = left > 1e-6 ? left : 1e-6; /* zero would switch it off */
        t.it_value.tv_sec = (time_t)left;
        t.it_value.tv_nsec = (long)((left - floor(left)) * 1e9);
    }
    timerfd_settime(w->timer, 0, &t, NULL);
}

/* lock held; the entry is in */
static void take(struct watch *w, struct watch_entry *e)
{
    epoll_ctl(w->epoll, EPOLL_CTL_DEL, e->fd, NULL);
    w->by_fd[e->fd] = NULL;
}

bool watch_add(struct watch *w, struct watch_entry *e, int fd, double wake_at)
{
    pthread_mutex_lock(&w->lock);
    bool in = !w->flushed;
    if (in) {
        if (fd >= w->n_fd) {
            int n = fd < 512 ? 1024 : 2 * fd;
            w->by_fd = xrealloc(w->by_fd, (size_t)n * sizeof *w->by_fd);
            memset(w->by_fd + w->n_fd, 0, (size_t)(n - w->n_fd) * sizeof *w->by_fd);
            w->n_fd = n;
        }
        w->serial += 1 + (w->serial == UINT32_MAX); /* never 0 */
        *e = (struct watch_entry){fd, w->serial, wake_at > 0 ? wake_at : INFINITY};
        w->by_fd[fd] = e;
        struct epoll_event ev = {EPOLLRDHUP | EPOLLONESHOT, {.u64 = tag(fd, e->serial)}};
        if (epoll_ctl(w->epoll, EPOLL_CTL_ADD, fd, &ev))
            log_warn("cannot watch a client's socket: %s", strerror(errno));
        if (e->wake_at < w->armed)
            arm(w, e->wake_at);
    }
    pthread_mutex_unlock(&w->lock);
    return in;
}

bool watch_take(struct watch *w, struct watch_entry *e)
{
    pthread_mutex_lock(&w->lock);
    bool in = e->serial && e->fd < w->n_fd && w->by_fd[e->fd] == e;
    if (in)
        take(w, e);
    pthread_mutex_unlock(&w->lock);
    return in;
}

static void socket_event(struct watch *w, uint64_t id)
{
    int fd = (int)(uint32_t)id;
    pthread_mutex_lock(&w->lock);
    struct watch_entry *e = fd < w->n_fd ? w->by_fd[fd] : NULL;
    if (e && tag(fd, e->serial) != id)
        e = NULL;
    if (e)
        take(w, e);
    pthread_mutex_unlock(&w->lock);
    if (e)
        w->fire(e, WATCH_GONE);
}

/* Fires what is due by `now` in handfuls (fire must not run under the lock), then arms for the
 * next. */
static void fire_due(struct watch *w, double now, enum watch_why why)
{
    enum { HANDFUL = 64 };
    struct watch_entry *due[HANDFUL];
    int n;
    do {
        double next = INFINITY;
        n = 0;
        pthread_mutex_lock(&w->lock);
        for (int fd = 0; fd < w->n_fd && n < HANDFUL; fd++) {
            struct watch_entry *e = w->by_fd[fd];
            if (e && e->wake_at <= now) {
                take(w, e);
                due[n++] = e;
            } else if (e && e->wake_at < next) {
                next = e->wake_at;
            }
        }
        if (n < HANDFUL)
            arm(w, next);
        pthread_mutex_unlock(&w->lock);
        for (int i = 0; i < n; i++)
            w->fire(due[i], why);
    } while (n == HANDFUL);
}

static void *run(void *arg)
{
    struct watch *w = arg;
    for (;;) {
        struct epoll_event ev[64];
        int n = epoll_wait(w->epoll, ev, 64, -1);
        for (int i = 0; i < n; i++) {
            uint64_t count;
            if (ev[i].data.u64 == tag(w->stop, 0))
                return NULL;
            if (ev[i].data.u64 != tag(w->timer, 0))
                socket_event(w, ev[i].data.u64);
            else if (read(w->timer, &count, sizeof count) == sizeof count)
                fire_due(w, clock_now(), WATCH_TIME);
        }
    }
}

static bool listen_to(struct watch *w, int fd)
{
    struct epoll_event ev = {EPOLLIN, {.u64 = tag(fd, 0)}};
    return fd >= 0 && !epoll_ctl(w->epoll, EPOLL_CTL_ADD, fd, &ev);
}

static void release(struct watch *w)
{
    int fd[] = {w->epoll, w->timer, w->stop};
    for (int i = 0; i < 3; i++)
        if (fd[i] >= 0)
            close(fd[i]);
    pthread_mutex_destroy(&w->lock);
    xfree(w->by_fd);
    xfree(w);
}

enum status watch_open(void (*fire)(struct watch_entry *, enum watch_why), struct watch **out)
{
    struct watch *w = xcalloc(1, sizeof *w);
    enum status s = OK;
    w->fire = fire;
    w->armed = INFINITY;
    pthread_mutex_init(&w->lock, NULL);
    w->epoll = epoll_create1(EPOLL_CLOEXEC);
    w->timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    w->stop = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (!listen_to(w, w->timer) || !listen_to(w, w->stop))
        s = fail(ERR_IO, "cannot watch sockets: %s", strerror(errno));
    if (s == OK)
        s = thread_start(&w->thread, "watch", run, w);
    if (s != OK) {
        release(w);
        return s;
    }
    *out = w;
    return OK;
}

void watch_flush(struct watch *w)
{
    pthread_mutex_lock(&w->lock);
    w->flushed = true;
    pthread_mutex_unlock(&w->lock);
    fire_due(w, INFINITY, WATCH_GONE);
}

void watch_close(struct watch *w)
{
    uint64_t one = 1;
    if (write(w->stop, &one, sizeof one) == sizeof one)
        pthread_join(w->thread, NULL);
    release(w);
}
