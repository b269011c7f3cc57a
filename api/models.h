/* models.h - GET /v1/models and /v1/models/{id}. */
#ifndef API_MODELS_H
#define API_MODELS_H

#include "api/call.h"

enum status models_list(struct api *a, struct call *c);
enum status models_one(struct api *a, struct call *c);

#endif
