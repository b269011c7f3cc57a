/* metrics.h - GET /v1/metrics and /metrics. */
#ifndef API_METRICS_H
#define API_METRICS_H

#include "api/call.h"

enum status metrics_text(struct api *a, struct call *c);

#endif
