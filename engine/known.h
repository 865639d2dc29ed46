/*
 * What the run before this one knew of a VM's disks, held against the names and
 * edges of QEMU's block graph now. Where all is as it was left, nothing else
 * need be asked: to ask QEMU for all that it knows of a chain of hundreds of
 * images takes longer than a snapshot, and it does nothing else meanwhile.
 *
 * A node of ours has a name that no other node ever had, so a chain whose nodes
 * are the same by name, from such a head down to the last, is the same chain.
 */
#pragma once

#include "engine/graph.h"
#include "engine/intent.h"

typedef struct _EngineKnown EngineKnown;

/**
 * engine_known_ask:
 * Asks @vm's QEMU for its nodes' names and edges, and for the node that each registered disk's device is on. Where it
 * does not know such a question, nothing is known, and that is no error. Raises QMP_ERROR's. Returns: (transfer full)
 * QAPI: x-debug-query-block-graph, qom-get
 */
EngineKnown *engine_known_ask (EngineVm *vm, GError **error) G_GNUC_WARN_UNUSED_RESULT;
void engine_known_free (EngineKnown *known);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (EngineKnown, engine_known_free)

/**
 * engine_known_recall:
 * The graph as it must be, with the active image of each disk alone, and @known set; or %NULL where anything is not as
 * the run before left it: then all has to be asked. Returns: (transfer full) (nullable)
 */
EngineGraph *engine_known_recall (EngineVm *vm, const EngineKnown *known);

/**
 * engine_known_after:
 * To remember with @disk of @graph, once @overlay is its head. Of a graph with disks that are not registered nothing is
 * remembered: they have to be told of each time. Returns: (transfer full) (nullable)
 */
char *engine_known_after (const EngineKnown *known, const EngineVm *vm, const EngineGraph *graph,
                          const EngineGraphDisk *disk, const EngineIntentOverlay *overlay);
