/*-------------------------------------------------------------------------
 *
 * request.h
 *	  What the arguments of apikey_verify say of a request.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_VERIFY_REQUEST_H
#define APIKEYS_VERIFY_REQUEST_H

#include "model/ip_address.h"
#include "model/permission_check.h"

/* The arguments of apikey_verify, in their order. */
typedef enum AuthorizeArgument
{
	AUTHORIZE_RAW_KEY,
	AUTHORIZE_MODEL,
	AUTHORIZE_ENDPOINT,
	AUTHORIZE_REQUIRED_PERMISSIONS,
	AUTHORIZE_TOKENS,
	AUTHORIZE_CLIENT_IP,
	AUTHORIZE_RESERVE,
	AUTHORIZE_COST,
	AUTHORIZE_ANY_PERMISSIONS,
	AUTHORIZE_BUDGET_ID,
	AUTHORIZE_NARGUMENTS
} AuthorizeArgument;

extern bool request_read(const NullableDatum *args, inet_struct *client_ip, Request *request);
extern int64 request_cost(const NullableDatum *arg);

#endif							/* APIKEYS_VERIFY_REQUEST_H */
