/* errors.h - how a failure looks to a client: HTTP status, error type and code, the JSON envelope.
 */
#ifndef API_ERRORS_H
#define API_ERRORS_H

#include "api/api.h"
#include "kernels/base/status.h"

/* {"error":{"message","type","param","code"}} of this thread's last failure, which was `s`. */
void errors_write(enum status s, struct buf *out);
/* The complete error reply, with Retry-After and the like: PHASE_REPLY. Replaces what was in `out`.
 */
void errors_reply(struct call *c, enum status s);

#endif
