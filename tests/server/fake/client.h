/* client.h - an HTTP client that says what it is told, byte by byte if need be. */
#ifndef TESTS_SERVER_FAKE_CLIENT_H
#define TESTS_SERVER_FAKE_CLIENT_H

#include <stdbool.h>

#include "kernels/base/buf.h"

enum { PATIENCE_MS = 20000 }; /* without a byte: then the test fails */

struct client {
    int fd;
    struct buf in; /* received and not yet taken */
};

void dial_to(int port); /* of this machine: all that dial from now on */
struct client dial(void);
void hang_up(struct client *c);
void say(struct client *c, const char *text, size_t n);
void ask(struct client *c, const char *text);

bool more(struct client *c); /* receives; false at the end of the connection */
/* The position behind the first `mark` at or after `from`, receiving until it is there; 0: end. */
size_t find(struct client *c, size_t from, const char *mark);
/* Takes one reply; its status, or 0 when the connection ended before its end. `body`: or NULL. */
int hear(struct client *c, bool head_only, struct buf *body);
int round_trip(struct client *c, const char *request, struct buf *body);

#endif
