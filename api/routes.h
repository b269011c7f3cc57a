/* routes.h - which endpoint answers which method and path. */
#ifndef API_ROUTES_H
#define API_ROUTES_H

#include <stdbool.h>

#include "kernels/base/status.h"

struct api;
struct call;

struct route {
    const char *method; /* a GET answers HEAD too: the server leaves the body out */
    const char *path;   /* a last part "{id}" stands for the rest, slashes included */
    bool open;          /* needs no API key */
    /* Answers (PHASE_REPLY), or submits jobs (PHASE_WAIT). A failure becomes the error reply. */
    enum status (*begin)(struct api *a, struct call *c);
    /* Takes what the jobs have. A failure becomes the error reply, or the last frame of a stream.
     */
    enum status (*resume)(struct api *a, struct call *c);
    void (*end)(struct call *c); /* frees what `state` owns; NULL: nothing */
};

enum { MAX_ROUTES = 32 };

int routes_count(void);
const struct route *routes_at(int i);
/* Finds the route of (method, path). ERR_NOT_FOUND, or ERR_METHOD when only other methods are
 * known: `allow` then lists them. `id`: the part of the path that "{id}" stands for, borrowed. */
enum status routes_find(const char *method, const char *path, const struct route **out,
                        const char **id, char allow[64]);
/* Whether every route that answers this path is open. An unknown path is not. */
bool routes_open(const char *path);

#endif
