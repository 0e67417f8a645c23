/*-------------------------------------------------------------------------
 *
 * verify.h
 *	  apikey_verify: the answer to an application.
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_VERIFY_VERIFY_H
#define APIKEYS_VERIFY_VERIFY_H

#include "access/htup.h"
#include "access/tupdesc.h"
#include "fmgr.h"

#include "verify/authorize.h"

/* The row type of a function that answers; a static of each, zero at first. */
typedef struct ResultType
{
	Oid			function;		/* whose it is */
	TupleDesc	tupdesc;
} ResultType;

extern HeapTuple verify_form_result(FunctionCallInfo fcinfo, ResultType *type,
									const AuthDecision *decision);

#endif							/* APIKEYS_VERIFY_VERIFY_H */
