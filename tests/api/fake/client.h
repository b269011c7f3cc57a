/* client.h - a client without sockets: sends a request to the api floor as server/http.c would, and
 * keeps the whole answer. */
#ifndef TESTS_API_FAKE_CLIENT_H
#define TESTS_API_FAKE_CLIENT_H

#include "api/api.h"

struct client {
    struct api *api;
    struct call call;
    struct header header[8];
    char lines[1024];  /* of the header */
    struct buf answer; /* all bytes sent so far */
    int suspended;
};

/* A call that is begun; the request id is "t1". head: "name: value" lines, NULL for none. */
void client_begin(struct client *c, struct api *a, const char *method, const char *path,
                  const char *head, struct bytes body);
/* Takes what is there until the call suspends (false) or its answer is whole (true). */
bool client_pump(struct client *c);
void client_end(struct client *c);
/* begin, pump to the end (which must come), and the answer with `"created":N` made 0 in a heap
 * string. `status`: the HTTP status. */
char *client_ask(struct api *a, const char *method, const char *path, const char *body,
                 int *status);
const char *client_header(const struct client *c, const char *name); /* of the reply, or NULL */

#endif
