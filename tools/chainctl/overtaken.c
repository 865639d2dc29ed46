/*
 * What a command that was overtaken believed is not what is: the first thing that
 * failed behind its back is no answer. The end of its operation is, which is brought
 * about as `recover` would.
 */
#include "tools/chainctl/overtaken.h"

#include "engine/error.h"
#include "engine/op.h"
#include "engine/recover.h"

#define STOOD_STILL \
  "this process stood still for so long, the guest paused, that the one that stands by went on in its place"

static gboolean
is_overtaken (const ChainctlInvocation *invocation)
{
  EngineContext *context = invocation->context;
  gboolean overtaken = FALSE;

  return context->db != NULL && context->op != NULL && invocation->vm != NULL &&
         engine_op_is_overtaken (context, context->op, &overtaken, NULL) && overtaken;
}

/* A commit overwrites from its start, and so takes snapshots with it though it is not done. */
static EngineError
code_of (const ChainsOp *op)
{
  gboolean overwrites = g_str_equal (op->verb, "commit") || g_str_equal (op->verb, "delete");

  if (op->state == CHAINS_OP_OPEN || op->state == CHAINS_OP_DETACHED)
    return ENGINE_ERROR_INTERRUPTED;
  return op->state == CHAINS_OP_UNDONE && !overwrites ? ENGINE_ERROR_FAILED : ENGINE_ERROR_PARTLY;
}

static const char *
hint_of (const ChainsOp *op)
{
  switch (op->state) {
  case CHAINS_OP_DONE:
    return "nothing is left to be done; `chainctl tree` shows what is";
  case CHAINS_OP_UNDONE:
    return "run it again";
  case CHAINS_OP_FAILED:
    return "see `chainctl tree`; the same command may be run for the others";
  default:
    return "run `chainctl recover`";
  }
}

/* What came of it, in words. */
static const char *
describe (const ChainsOp *op, const GPtrArray *recovered)
{
  for (guint i = 0; i < recovered->len; i++) {
    const EngineRecovered *entry = g_ptr_array_index (recovered, i);

    if (g_str_equal (entry->op, op->id))
      return entry->message;
  }
  return op->state == CHAINS_OP_DONE ? "it is done" : op->state == CHAINS_OP_UNDONE ? "it is undone" : "it is not done";
}

static gboolean
settle (ChainctlInvocation *invocation, const char *id, GPtrArray *recovered, ChainsOp **op, GError **error)
{
  g_autoptr (EngineContext) context = engine_context_new_sharing (invocation->context);
  gboolean done = engine_recover_vm (context, invocation->vm, recovered, error);

  engine_context_take_warnings (invocation->context, context);
  *op = done ? engine_op_get (context, id, error) : NULL;
  return *op != NULL;
}

void
chainctl_overtaken_settle (ChainctlInvocation *invocation, GError **error)
{
  g_autoptr (GPtrArray) recovered = engine_recover_list_new ();
  const char *id = invocation->context->op;
  g_autoptr (GError) failure = NULL;
  g_autoptr (ChainsOp) op = NULL;

  if (*error == NULL || !is_overtaken (invocation))
    return;
  g_clear_error (error);
  chainctl_output_forget (invocation->output);
  if (settle (invocation, id, recovered, &op, &failure))
    engine_error_set (error, code_of (op), hint_of (op), "VM '%s': %s; %s", invocation->vm, STOOD_STILL,
                      describe (op, recovered));
  else
    engine_error_set (error, ENGINE_ERROR_INTERRUPTED, "run `chainctl recover`",
                      "VM '%s': %s; what is left could not be brought to its end (%s), and is journalled as operation "
                      "%s",
                      invocation->vm, STOOD_STILL, failure->message, id);
}
