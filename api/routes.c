/* routes.c - THE route table. To add an endpoint: one file, one row. */
#include "api/routes.h"

#include <stdio.h>
#include <string.h>

#include "api/chat.h"
#include "api/completions.h"
#include "api/answer.h"
#include "api/health.h"
#include "api/info.h"
#include "api/metrics.h"
#include "api/models.h"
#include "api/tokenize.h"

/* clang-format off */
static const struct route route[] = {
    /* method  path                    open   begin              resume      end     */
    {"POST", "/v1/chat/completions",  false, chat_begin,        answer_resume, answer_end},
    {"POST", "/v1/completions",       false, completions_begin, answer_resume, answer_end},
    {"GET",  "/v1/models",            false, models_list,       NULL,       NULL},
    {"GET",  "/v1/models/{id}",       false, models_one,        NULL,       NULL},
    {"GET",  "/v1/health/live",       true,  health_live,       NULL,       NULL},
    {"GET",  "/v1/health/ready",      true,  health_ready,      NULL,       NULL},
    {"GET",  "/health",               true,  health_ready,      NULL,       NULL},
    {"GET",  "/v1/version",           false, info_version,      NULL,       NULL},
    {"GET",  "/v1/metadata",          false, info_metadata,     NULL,       NULL},
    {"GET",  "/v1/metrics",           false, metrics_text,      NULL,       NULL},
    {"GET",  "/metrics",              false, metrics_text,      NULL,       NULL},
    {"POST", "/tokenize",             false, tokenize_text,     NULL,       NULL},
    {"POST", "/detokenize",           false, tokenize_back,     NULL,       NULL},
};
/* clang-format on */
enum { N_ROUTES = sizeof route / sizeof *route };
_Static_assert((int)N_ROUTES <= (int)MAX_ROUTES, "the request counters have a row for each route");

int routes_count(void)
{
    return N_ROUTES;
}

const struct route *routes_at(int i)
{
    return &route[i];
}

/* One slash at the end is forgiven: base URLs are often configured with one. */
static bool path_matches(const char *pattern, const char *path, const char **id)
{
    const char *brace = strchr(pattern, '{');
    size_t n = brace ? (size_t)(brace - pattern) : strlen(pattern);

    if (strncmp(path, pattern, n) != 0)
        return false;
    *id = path + n;
    return brace ? path[n] != '\0' : path[n] == '\0' || strcmp(path + n, "/") == 0;
}

enum status routes_find(const char *method, const char *path, const struct route **out,
                        const char **id, char allow[64])
{
    const char *rest;
    size_t n = 0;

    *out = NULL;
    *id = "";
    for (int i = 0; i < N_ROUTES; i++) {
        const struct route *r = &route[i];
        bool get = strcmp(r->method, "GET") == 0;

        if (!path_matches(r->path, path, &rest))
            continue;
        if (strcmp(method, r->method) == 0 || (get && strcmp(method, "HEAD") == 0)) {
            *out = r;
            *id = rest;
            return OK;
        }
        n += (size_t)snprintf(allow + n, 64 - n, "%s%s", n ? ", " : "", get ? "GET, HEAD" : "POST");
    }
    if (n == 0)
        return fail(ERR_NOT_FOUND, "there is no %.200s here", path);
    return fail(ERR_METHOD, "%.16s is not allowed for %.200s; allowed: %s", method, path, allow);
}

bool routes_open(const char *path)
{
    const char *rest;
    bool found = false;

    for (int i = 0; i < N_ROUTES; i++) {
        if (!path_matches(route[i].path, path, &rest))
            continue;
        if (!route[i].open)
            return false;
        found = true;
    }
    return found;
}
