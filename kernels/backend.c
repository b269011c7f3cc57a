/* backend.c - which backends this build has. The only place that knows them by name. */
#include "kernels/backend.h"

#include <string.h>

/* Those a user can compute on. The null backend only plans; whoever plans names it directly. */
static const struct backend *const backends[] = {&backend_cpu};

enum { N_BACKEND = sizeof backends / sizeof backends[0] };

enum status backend_find(const char *name, const struct backend **out)
{
    if (!name || strcmp(name, "auto") == 0)
        name = "cpu";
    for (int i = 0; i < N_BACKEND; i++) {
        if (strcmp(backends[i]->name, name) == 0) {
            *out = backends[i];
            return OK;
        }
    }
    return fail(ERR_UNSUPPORTED, "device \"%s\": this build has auto and cpu", name);
}
