/*-------------------------------------------------------------------------
 *
 * verify.h
 *	  apikey_verify: the answer to an application.
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_VERIFY_H
#define APIKEYS_VERIFY_H

#include "access/htup.h"
#include "access/tupdesc.h"
#include "fmgr.h"

#include "verify/judge.h"

/* The row type of a function that answers; a static of each, zero at first. */
typedef struct AnswerType
{
	Oid			function;		/* whose it is */
	TupleDesc	tupdesc;
} AnswerType;

extern HeapTuple verify_valid_answer(FunctionCallInfo fcinfo, AnswerType *type,
									 const Judgement *judgement);

#endif							/* APIKEYS_VERIFY_H */
