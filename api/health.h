/* health.h - GET /v1/health/live, /v1/health/ready, /health. */
#ifndef API_HEALTH_H
#define API_HEALTH_H

#include "api/call.h"

enum status health_live(struct api *a, struct call *c);
enum status health_ready(struct api *a, struct call *c);

#endif
