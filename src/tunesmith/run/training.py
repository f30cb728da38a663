"""One run from recipe to result: data, proofs, before, training, after, report.

Every stage leaves its file in the run folder, so a run that was stopped anywhere goes on from there.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tunesmith.contracts.batch import Feed
from tunesmith.engine import checkpoint, optimizers
from tunesmith.engine.checkpoint import Progress
from tunesmith.engine.loop import Job, fit, save_best
from tunesmith.engine.schedules import next_evaluation, schedule
from tunesmith.engine.sinks.jsonl import JsonlSink, cut_after
from tunesmith.engine.sinks.track import trackers
from tunesmith.engine.workers import Workers, join
from tunesmith.errors import GateFailed
from tunesmith.evaluation.comparison import as_dict
from tunesmith.events import Event, Sink, fan_out
from tunesmith.models.prefixed import rows_ahead
from tunesmith.recipe import Recipe
from tunesmith.run import folder as folders
from tunesmith.run import forgetting, rollouts, suites
from tunesmith.run.addons import with_addons
from tunesmith.run.diagnosing import watching, write_diagnosis
from tunesmith.run.environment import environment
from tunesmith.run.folder import Run
from tunesmith.run.held_out import answering, evaluation
from tunesmith.run.judge import Exam, Marks, compared, examine, retention_examples, retention_files
from tunesmith.run.measured import measured
from tunesmith.run.on_policy import on_policy
from tunesmith.run.order import ordered_feed
from tunesmith.run.outcome import flops_per_token, losses, outcome, peak_flops, steps_of
from tunesmith.run.reachable import check_scorable
from tunesmith.run.resolve import check_steps, parts, settled
from tunesmith.run.rows import learned, prepare_with, prompts_of
from tunesmith.run.session import Language, Session, open_session
from tunesmith.run.stage import Stage
from tunesmith.run.stepping import step_in_backward
from tunesmith.run.stopping import stoppable
from tunesmith.run.trunk import kept_trunk
from tunesmith.run.verdict import as_report, check_gate
from tunesmith.run.warnings import never_better, warnings

Opener = Callable[..., Session]
"""``open_session``, or what does its work on a base that is there already."""


def train_one(
    recipe: Recipe,
    *,
    out: str | Path | None = None,
    resume: bool = False,
    sinks: tuple[Sink, ...] = (),
    switch_proofs_off: bool = False,
    share: float = 1.0,
    opened: Opener = open_session,
) -> Run:
    """Train ``recipe``, which has no stages, into a run folder; raises as ``run.stages.train`` does.

    ``share`` of the updates are made now, up to the next evaluation; to be resumed. ``opened`` makes the session.
    """
    check_steps(parts(recipe).method, recipe.train.steps)
    for suite in recipe.evaluate.suites:
        suites.tasks_of(suite)
    retention_files(recipe)
    run = folders.create(recipe, out, resume=resume)
    if resume:
        recipe = run.same_recipe(recipe)
    workers = join()
    lock = run.lock() if workers.first else None
    try:
        with stoppable(run) as now:
            stage = _open(recipe, run, workers, sinks, opened)
            if recipe.proofs == "start" and not switch_proofs_off and not run.proven:
                now("the proofs")
                _prove(stage)
            now("the exam before training")
            # an adapter can be switched off to measure the base at the end, so that training starts at once
            exam = _exam(stage) if stage.session.attached.artifact == "model" else None
            job, progress = _job(stage, resume=resume)
            _start(stage, job, progress)
            now("training")
            with kept_trunk(stage.session, job) as stage.trunk:
                progress = fit(job, progress, until=next_evaluation(share, job.steps, job.config.evaluate_every))
            now("the last exam")
            if progress.step < job.steps and not progress.stopped_early:
                _paused(stage, job, progress)
            elif workers.first:
                _finish(stage, job, progress, exam)
            workers.wait()
    finally:
        workers.close()
        if lock is not None:
            lock.close()
    return run


def _open(recipe: Recipe, run: Run, workers: Workers, sinks: tuple[Sink, ...], opened: Opener) -> Stage:
    record = (JsonlSink(run.events),) if workers.first else ()
    tracked = trackers(recipe.track, run=recipe.name, folder=run.folder) if workers.first else []
    emit = watching(fan_out(*record, *tracked, *sinks), run) if workers.first else fan_out()
    language, asked = Language.of(recipe), recipe
    recipe = learned(recipe)
    prepared = workers.one_after_first(lambda: prepare_with(recipe, language.encoder, emit=emit))
    check_scorable(recipe, prepared)
    session = opened(recipe, language, emit=emit)
    session.recipe = settled(session.recipe, "train", steps=steps_of(session, prepared))
    check_steps(session.parts.method, session.recipe.train.steps)
    if workers.first:
        run.write_recipe(session.recipe, asked=asked)
        run.write("environment.json", environment())
        prepared.ledger.save(run.folder / "ledger.json")
    suites.check_suites(session)
    check_gate(session)
    return Stage(run, session, prepared, workers, emit)


def _prove(stage: Stage) -> None:
    from tunesmith.run.proving import prove_session

    stage.emit(Event("phase", 0, {"text": "proving that what is trained is what was asked for"}))
    outcomes = prove_session(stage.session, stage.prepared, emit=stage.emit)
    if stage.workers.first:
        stage.run.write("proof.json", {"proofs": [outcome.as_dict() for outcome in outcomes]})
    failed = [outcome for outcome in outcomes if outcome.passed is False]
    if failed:
        reasons = "; ".join(f"{one.name}: {one.why} (measured {one.measured}, bound {one.bound})" for one in failed)
        raise GateFailed(f"{len(failed)} of {len(outcomes)} proofs failed, nothing was trained. {reasons}")
    stage.emit(Event("note", 0, {"text": f"{sum(bool(one.passed) for one in outcomes)} proofs passed"}))


def _exam(stage: Stage) -> Exam:
    """The rows of the exam, and the base's marks where they are wanted (the method is off, or not yet trained)."""
    exam = Exam(
        validation=stage.validation,
        prompts=prompts_of(stage.session, stage.prepared),
        retention=retention_examples(stage.session, emit=stage.emit),
        records=stage.records,
        beside=stage.beside,
    )
    measured = (stage.run.folder / "eval" / "before.json").is_file()
    if stage.session.recipe.evaluate.before and not measured:
        with stage.session.attached.off():
            marks = examine(stage.session, exam, emit=stage.emit, words="the base")
            suites.before_training(stage.session, stage.run, emit=stage.emit, write=stage.workers.first)
        if stage.workers.first:
            stage.run.write("eval/before.json", marks.as_dict(stage.sources))
    return exam


def _job(stage: Stage, *, resume: bool) -> tuple[Job, Progress]:
    session, recipe = stage.session, stage.session.recipe
    steps = steps_of(session, stage.prepared)
    beside = stage.beside
    feed: Feed = on_policy(session, ordered_feed(session, stage.prepared, stage.run, steps=steps, emit=stage.emit))
    if session.parts.objective.samples:
        feed = rollouts.feed(
            session, stage.prepared, beside=beside, folder=stage.run.folder, emit=stage.emit, workers=stage.workers
        )
        beside = rollouts.REMEMBERED
    job = Job(
        policy=session.policy,
        attached=session.attached,
        objective=session.parts.objective,
        weights=session.weights,
        optimizer=optimizers.build(session.weights, recipe.train),
        schedule=schedule(recipe.train.schedule, total=steps, warmup=recipe.train.warmup),
        feed=feed,
        config=recipe.train,
        folder=stage.run.folder,
        steps=steps,
        microbatch_tokens=int(recipe.train.tokens_per_microbatch),
        rows_ahead=rows_ahead(session.model),
        seed=recipe.seed,
        workers=stage.workers,
        emit=measured(stage.emit, session.weights.values, device=session.device),
        evaluate=evaluation(stage),
        relieve=session.recompute,
        beside=beside,
    )
    job = step_in_backward(with_addons(job, session, stage.prepared), session.attached)
    found = checkpoint.newest(stage.run.checkpoints) if resume else None
    if found is None:
        if resume and stage.workers.first:
            cut_after(stage.run.events, 0)
            stage.emit(Event("note", 0, {"text": "no checkpoint was saved yet: starting at update 1"}))
        _carry_optimizer(stage, job)
        return job, Progress()
    job.attached.restore(checkpoint.restore(found.path, session.weights, job.optimizer))
    job.feed.restore(checkpoint.feed_state(found.path))
    if stage.workers.first:
        cut_after(stage.run.events, found.progress.step)
    for name in found.damaged:
        stage.emit(Event("note", found.progress.step, {"text": f"passed over the damaged checkpoint {name}"}))
    done = found.progress.step
    text = f"resuming at update {done + 1:,} of {steps:,}, epoch {feed.epoch_of(done):.2f}"
    stage.emit(Event("note", done, {"text": text if done < steps else f"all {steps:,} updates are done"}))
    return job, found.progress


def _carry_optimizer(stage: Stage, job: Job) -> None:
    """Take over the optimizer's state of parameters that the run this one starts from trained too."""
    recipe = stage.session.recipe
    if recipe.train.optimizer_state == "fresh" or recipe.model.start is None:
        return
    found = checkpoint.newest(Run.open(recipe.model.start).last_stage.checkpoints)
    kept = 0 if found is None else checkpoint.carry(found.path, job.optimizer)
    text = f"the optimizer's state of {kept} of {len(stage.session.weights.parameters)} parameters is carried over"
    stage.emit(Event("note", 0, {"text": text}))


def _start(stage: Stage, job: Job, progress: Progress) -> None:
    recipe = stage.session.recipe
    values = {
        "name": recipe.name,
        "steps": job.steps,
        "trained": stage.session.weights.count,
        "rows": len(stage.prepared.train),
        "method": recipe.method.name,
        "objective": recipe.objective.name,
        "dtype": recipe.model.dtype,
        "driver": recipe.model.driver,
        "flops_per_token": flops_per_token(stage, job),
        "peak_flops": peak_flops(stage.session),
    }
    if progress.step == 0:
        answering(stage)(0)
    job.emit(Event("start", progress.step, values))


def _paused(stage: Stage, job: Job, progress: Progress) -> None:
    text = f"stopped and saved after update {progress.step} of {job.steps}; go on with --resume"
    stage.emit(Event("note", progress.step, {"text": text}))
    if stage.workers.first:
        stage.run.write("report.json", outcome(stage, job, progress, finished=False))
    stage.emit(Event("end", progress.step, {"finished": False}))


def _finish(stage: Stage, job: Job, progress: Progress, exam: Exam | None) -> None:
    if progress.best_step is None:
        save_best(job)
    elif progress.best_step != progress.step:
        stage.session.attached.load(stage.run.artifact)
    exam = exam or _exam(stage)
    marks = examine(stage.session, exam, emit=stage.emit, words="the tuned model")
    after, before = marks.as_dict(stage.sources), stage.run.read("eval/before.json")
    stage.run.write("eval/after.json", after)
    changes = as_dict(compared(Marks.from_dict(before), marks))
    report = outcome(stage, job, progress, finished=True)
    report |= {
        "before": before.get("task", {}),
        "after": after["task"],
        "by_source": after["by_source"],
        "changes": changes,
        "forgetting": changes.get("retention", {}).get("nll", {}).get("change") or {},
        "warnings": [
            *warnings(changes, losses(stage), stage.session.recipe.train),
            *never_better(stage.session.recipe.train, evaluated=len(stage.validation) > 0, best=progress.best_step),
        ],
    }
    if stage.session.recipe.evaluate.suites:
        report["suites"] = suites.after_training(stage.session, stage.run, emit=stage.emit)
    report["forgetting_table"] = forgetting.table(report)
    report |= as_report(report, stage.session.recipe.gate)
    stage.run.write("report.json", report)
    write_diagnosis(stage.run, stage.session, stage.prepared, feed=job.feed)
    stage.emit(Event("end", progress.step, {"finished": True, "stopped_early": progress.stopped_early}))
