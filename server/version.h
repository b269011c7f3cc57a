/* version.h - what this program calls itself: `inferd version`, /v1/version, the Server of bench
 * reports. */
#ifndef SERVER_VERSION_H
#define SERVER_VERSION_H

#define INFERD_VERSION "0.1.0"

#endif
