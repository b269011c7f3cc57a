/* info.h - GET /v1/version and /v1/metadata. */
#ifndef API_INFO_H
#define API_INFO_H

#include "api/call.h"

enum status info_version(struct api *a, struct call *c);
enum status info_metadata(struct api *a, struct call *c);

#endif
