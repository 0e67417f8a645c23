/*-------------------------------------------------------------------------
 *
 * permit.h
 *	  Does a key permit what a request asks for?
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_PERMIT_H
#define APIKEYS_PERMIT_H

#include "utils/array.h"
#include "utils/inet.h"

#include "policy.h"

/* What a caller of verify wants to do; NULL and NO_TOKENS: not said. */
typedef struct Request
{
	text	   *model;
	text	   *endpoint;
	ArrayType  *required_permissions;
	int64		tokens;
	inet	   *client_ip;
} Request;

#define NO_TOKENS	(-1)

extern char *permit_why_forbidden(const Datum *allowed_ips, int nallowed_ips,
								  const Request *request);
extern char *permit_what_is_missing(const Permissions *permissions,
									const Request *request);

#endif							/* APIKEYS_PERMIT_H */
