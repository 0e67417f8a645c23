/*-------------------------------------------------------------------------
 *
 * preset.h
 *	  Named documents.
 *
 * SPDX-License-Identifier: PostgreSQL
 *
 *-------------------------------------------------------------------------
 */
#ifndef APIKEYS_MODEL_PRESET_H
#define APIKEYS_MODEL_PRESET_H


typedef struct Preset
{
	const char *name;
	const char *document;		/* JSON */
} Preset;

extern Datum preset_find(const Preset *presets, int npresets, Datum preset_name);

#endif							/* APIKEYS_MODEL_PRESET_H */
