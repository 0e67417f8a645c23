/*-------------------------------------------------------------------------
 *
 * name.h
 *	  Names that people give to keys, budgets and plans.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_MODEL_NAME_H
#define APIKEYS_MODEL_NAME_H

extern void name_check_blank(const text *name);

#endif							/* APIKEYS_MODEL_NAME_H */
