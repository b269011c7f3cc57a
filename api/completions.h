/* completions.h - POST /v1/completions. */
#ifndef API_COMPLETIONS_H
#define API_COMPLETIONS_H

#include "api/call.h"

enum status completions_begin(struct api *a, struct call *c);

#endif
