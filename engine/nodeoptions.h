/*
 * How the nodes of a live image were opened, so that an overlay on it can be
 * opened alike: cache mode, AIO, discard, zero detection. What QMP tells comes
 * from the node; what it hides from QEMU's command line, else from what we
 * remember, else from a default that is said.
 */
#pragma once

#include "engine/graph.h"

/**
 * EngineNodeOptions: BlockdevOptions' words (QAPI)
 * @aio: "threads", "native", "io_uring"
 * @discard, @file_discard: "ignore", "unmap": of the format node and of the node under it
 * @detect_zeroes: "off", "on", "unmap"
 * @guessed: aio and discard could not be found out
 */
typedef struct {
  gboolean direct;
  gboolean no_flush;
  gboolean file_direct;
  gboolean file_no_flush;
  char *aio;
  char *discard;
  char *file_discard;
  char *detect_zeroes;
  gboolean guessed;
} EngineNodeOptions;

/**
 * engine_nodeoptions_find:
 * @arguments: (nullable): QEMU's command line, from engine_nodeoptions_read_arguments()
 * @remembered: (nullable): what engine_nodeoptions_to_json() gave for the active image
 * Returns: (transfer full)
 */
EngineNodeOptions *engine_nodeoptions_find (const EngineGraphDisk *disk, char **arguments, const char *remembered);
void engine_nodeoptions_free (EngineNodeOptions *options);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (EngineNodeOptions, engine_nodeoptions_free)

/** The command line of process @qemu, or %NULL where it cannot be read. Returns: (transfer full) */
char **engine_nodeoptions_read_arguments (pid_t qemu);

/**
 * engine_nodeoptions_list:
 * @option: "-blockdev", "-drive", "-mon", "-hda" …; on the command line it may have two dashes
 * Each occurrence of @option in @arguments (nullable) as a table of dotted keys, the file.* in a -drive's
 * file=json:{…} too; the whole text stands under the empty key.
 * Returns: (transfer full) (element-type GHashTable)
 */
GPtrArray *engine_nodeoptions_list (char **arguments, const char *option);

/** A member of what is remembered: why an ignored disk's file alone is not what the guest has. */
#define ENGINE_NODEOPTIONS_NAMELESS "nameless"

/** To remember with the image. Returns: (transfer full) */
char *engine_nodeoptions_to_json (const EngineNodeOptions *options);

/** BlockdevOptionsFile, or of a block device BlockdevOptionsHostDevice, for @path. Returns: (transfer full) */
JsonObject *engine_nodeoptions_file (const EngineNodeOptions *options, const char *path, const char *node);

/**
 * engine_nodeoptions_format:
 * @file: (transfer full): as engine_nodeoptions_file() gives it
 * @below: (nullable): the node that it stands on; else it stands on nothing, whatever its header says
 * BlockdevOptionsQcow2, BlockdevOptionsRaw. Returns: (transfer full)
 */
JsonObject *engine_nodeoptions_format (const EngineNodeOptions *options, const char *format, const char *node,
                                       JsonObject *file, const char *below);
