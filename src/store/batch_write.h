/*-------------------------------------------------------------------------
 *
 * batch_write.h
 *	  How statements are executed that write many rows.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_STORE_BATCH_WRITE_H
#define APIKEYS_STORE_BATCH_WRITE_H

#include "store/spi.h"

extern int	store_plan_for_batches(void);
extern void store_write_batch(Statement *statement, Datum *arguments);

#endif							/* APIKEYS_STORE_BATCH_WRITE_H */
