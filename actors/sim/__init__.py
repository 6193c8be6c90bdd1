"""The simulated world: an API server and a repair backend to run the operator against, in process or over HTTP.

Read in this order:

1. ``apiserver`` – the API server as a pure model: one store, one growing resourceVersion. Beside it ``kinds`` (what is
   served, as data), ``schema`` (prune, default, validate), ``admission`` (what a write must pass), ``patching`` (patches and
   selectors), ``listing`` (pages), ``history`` (the change log that watches read), ``apierrors`` (refusals).
2. ``backend`` – the repair backend as a pure model: a quota over arrivals, keys, and every way of answering badly.
3. ``serve`` – the HTTP that both share; ``serve_api`` and ``serve_backend`` are the two processes. ``serve_watch`` is the
   loop of one watch, ``openapi`` and ``table`` are what kubectl needs, ``protobuf`` the little that it insists on,
   ``serve_faults`` what tests may break, ``serve_heal`` what a repair changes in the cluster.
4. ``world`` – the seeded dispatcher with virtual time; ``crds`` – the definitions that Muster ships.
5. For tests on real sockets: ``envtest`` – a real kube-apiserver and etcd; ``proxy`` – a network that can be broken; ``live`` –
   the operator and the servers as processes, and a fleet with the truth about it.

Words: a *resource* is a served kind; a *commit* is one change with its resourceVersion; a *cursor* is a watch as its
reader sees it; a *fault* is asked for by a test at ``/__faults``; an *arrival* is a call at the moment the backend has
read it.

The models know no clock, thread, socket or randomness: time and seeds are handed in. ``print``, wall time and sockets
are in ``serve*`` only.

**What the API server gets wrong.** Its answers to 92 requests and watches were compared with those of a real kube-apiserver
1.37. Beside what is listed here only the wording of some 400s, the order of several causes in one 422 and a few odd codes
differ (the real one answers 500 to a watch from a resourceVersion that is no number).

- No authentication and no RBAC: every request is allowed; SelfSubjectAccessReview asks an injected policy.
- CEL rules, ``allOf``/``anyOf``/``oneOf``/``not``, embedded resources and formats but ``date-time`` are not checked.
- One version per CRD, its storage version, and no conversion. A CRD is established at once, its own schema hardly checked.
- Defaults that a CRD gains later appear with an object's next write of that part, not with its next read.
- Server-side apply is a merge patch: no field ownership, no conflicts, nothing is removed by being left out, and
  ``managedFields`` are not kept. Strategic merge patch of built-in kinds is a merge patch too. JSON patch knows add,
  remove, replace and test.
- No garbage collector (envtest has none either): ownerReferences delete nothing, ``propagationPolicy`` is ignored. But a
  deleted namespace or CRD takes its objects along at once, finalizers or not.
- Only the present is kept beside the watch history: ``resourceVersionMatch=Exact`` of another moment gets 410.
- Nothing outlives the process: a new server starts at resourceVersion 1000, answers 410 to watchers from before that, and
  takes later ones to be waiting for the future.
- A watch from resourceVersion 0 ends its beginning with no bookmark; bookmarks come every ten seconds, not every minute.
- Built-in kinds are Namespaces, Events (which live for ever), SelfSubjectAccessReviews and CRDs only: no ServiceAccounts,
  Roles, Pods, Leases. No admission webhooks, resource quotas, priority and fairness, or scale subresource.
- JSON only (YAML for apply); of protobuf what kubectl sends in ``create namespace``, ``auth can-i`` and delete options; no
  CBOR, no TLS.
- 1, 1.0 and true are equal when a write is compared with what is stored.
"""
