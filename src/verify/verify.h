/*-------------------------------------------------------------------------
 *
 * verify.h
 *	  apikey_verify: is a raw key valid, and what does it permit?
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_VERIFY_VERIFY_H
#define APIKEYS_VERIFY_VERIFY_H

#include "access/htup.h"
#include "access/tupdesc.h"
#include "fmgr.h"

#include "verify/authorize.h"

/* The row type of a function, in a static variable of it; initially zero. */
typedef struct ResultType
{
	Oid			function;		/* oid of that function */
	TupleDesc	tupdesc;
} ResultType;

extern HeapTuple verify_form_result(FunctionCallInfo fcinfo, ResultType *type,
									const AuthDecision *decision);

#endif							/* APIKEYS_VERIFY_VERIFY_H */
