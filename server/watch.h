/* watch.h - looks after suspended connections: has the client left, has a wanted time come?
 *
 * A suspended libmicrohttpd connection is out of every epoll set, so nothing there notices that its
 * client closed the socket. This thread keeps an epoll of exactly those sockets. Being in the watch
 * is what "suspended" means: whoever takes an entry out - a wake-up, the client's leaving, a timer
 * - is the only one who may resume its connection, so it is resumed exactly once. */
#ifndef SERVER_WATCH_H
#define SERVER_WATCH_H

#include <stdbool.h>
#include <stdint.h>

#include "kernels/base/status.h"

struct watch;

struct watch_entry { /* lives in what is suspended; the watch's own while it is in */
    int fd;
    uint32_t serial; /* tells a late event of an earlier socket with this number */
    double wake_at;
};

enum watch_why { WATCH_GONE, WATCH_TIME };

/* `fire` is called from the watch's thread, without a lock, with an entry it has taken out. */
enum status watch_open(void (*fire)(struct watch_entry *, enum watch_why), struct watch **out);
/* Puts the entry in until the client leaves or clock_now() reaches wake_at (0: never). False after
 * watch_flush: then nothing was put in. */
bool watch_add(struct watch *w, struct watch_entry *e, int fd, double wake_at);
/* Takes the entry out; false when it was not in (any more). Any thread. */
bool watch_take(struct watch *w, struct watch_entry *e);
/* Fires every entry as WATCH_GONE and refuses new ones from now on. */
void watch_flush(struct watch *w);
void watch_close(struct watch *w); /* after watch_flush */

#endif
