//! One update of the weights.

use burn::{optim::GradientsParams, tensor::Tensor};
use hetrain_datasets::ImageBatch;

use super::{Running, Trainer};
use crate::{
    data::pixels,
    distill,
    error::RunError,
    loss::{correct, cross_entropy, scalar, targets, to_host},
    metrics::LossParts,
    optim::average,
};

/// Batches in a row whose gradient may overflow before the training counts as diverged.
const SKIPS: usize = 5;

impl Trainer<'_> {
    /// One update. Returns the losses and the norm of the gradient.
    pub(super) fn step(
        &self,
        r: &mut Running<'_>,
        batch: ImageBatch,
        step: usize,
        lr: f64,
    ) -> Result<(LossParts, f64), RunError> {
        let settings = r.phase.settings;
        r.phase.apply(&r.model, step);
        let labels = batch.labels.clone();
        let x = pixels(batch, self.device);
        // The teacher has a thread of its own. The student must stay on this one: Burn keeps the running statistics of a
        // batch norm for each thread that updates them.
        let (taught, out) = std::thread::scope(|scope| {
            let taught = r.teacher.as_ref().map(|t| scope.spawn(|| t.forward(x.clone())));
            let out = r.model.forward(Tensor::from_inner(x.clone()));
            (taught.map(std::thread::ScopedJoinHandle::join), out)
        });
        let taught = taught.transpose().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        let classes = self.data.train.classes;
        let target = Tensor::from_inner(targets(&labels, classes, settings.label_smoothing, self.device));
        let task = cross_entropy(out.logits.clone(), target);
        let mut parts = [Some(task.clone()), None, None, out.penalty];
        let mut total = task;
        if let Some(taught) = taught {
            let teacher = distill::logits(
                out.logits.clone(),
                Tensor::from_inner(taught.logits),
                settings.distill.temperature,
            );
            let weight = settings.distill.weight;
            total = total.mul_scalar(1.0 - weight) + teacher.clone().mul_scalar(weight);
            parts[1] = Some(teacher);
            if settings.distill.features > 0.0 {
                let hints: Vec<Tensor<3>> = taught.features.into_iter().map(Tensor::from_inner).collect();
                if let Some(loss) = distill::features(&out.features, &hints) {
                    total = total + loss.clone().mul_scalar(settings.distill.features);
                    parts[2] = Some(loss);
                }
            }
        }
        if let Some(penalty) = &parts[3] {
            total = total + penalty.clone().mul_scalar(settings.range_weight);
        }
        let value = |part: Option<Tensor<1>>| part.map_or(Ok(0.0), |t| scalar(t.inner()));
        let loss = scalar(total.clone().inner())?;
        let [task, teacher, features, range] = parts.map(value);
        let losses = LossParts { loss, task: task?, teacher: teacher?, features: features?, range: range? };
        let diverged = |what, value| RunError::Diverged {
            phase: r.phase.index,
            kind: settings.kind.name(),
            step,
            what,
            value,
        };
        if !loss.is_finite() {
            return Err(diverged("the loss", loss));
        }
        let hits = correct(&to_host(out.logits.inner())?, &labels, classes);
        let grads = GradientsParams::from_grads(total.backward(), &r.model);
        let (model, gradient) = r.updater.step(lr, r.model.clone(), grads)?;
        // A finite loss whose gradient has no norm in f32 is one bad batch, which the updater has left out; many in a row are not.
        r.state.skipped = if gradient.is_finite() { 0 } else { r.state.skipped + 1 };
        if r.state.skipped > SKIPS {
            return Err(diverged("the gradient", gradient));
        }
        r.model = model;
        if let (Some(decay), Some(a)) = (settings.ema, r.average.take()) {
            r.average = Some(average(a, &r.model, decay, step));
        }
        let all = [losses.loss, losses.task, losses.teacher, losses.features, losses.range];
        r.state.sums.add(all, labels.len(), hits);
        Ok((losses, gradient))
    }
}
