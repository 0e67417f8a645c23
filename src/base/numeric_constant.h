/*-------------------------------------------------------------------------
 *
 * numeric_constant.h
 *	  Integers as numerics, each made once per process.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_BASE_NUMERIC_CONSTANT_H
#define APIKEYS_BASE_NUMERIC_CONSTANT_H

#include "utils/numeric.h"

/* To be static, with only its value initialized. */
typedef struct NumericConstant
{
	int64		value;
	Numeric		numeric;		/* NULL: not made yet */
} NumericConstant;

extern Datum numeric_constant(NumericConstant *constant);

#endif							/* APIKEYS_BASE_NUMERIC_CONSTANT_H */
