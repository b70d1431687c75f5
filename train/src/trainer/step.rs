//! One update of the weights.

use burn::{
    optim::GradientsParams,
    tensor::{Device, Tensor},
};
use hetrain_datasets::ImageBatch;
use hetrain_layers::Dropout;

use super::{Running, Trainer};
use crate::{
    data::pixels,
    distill,
    error::RunError,
    loss::{correct, cross_entropy, targets, to_host},
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
        let place = (self.epochs_before(r.phase.index) * r.phase.steps_per_epoch + step) as u64;
        let dropout =
            (settings.dropout > 0.0).then(|| Dropout::new(settings.dropout, self.config.seed, place));
        let student = || r.model.forward_dropping(Tensor::from_inner(x.clone()), dropout);
        let (taught, out) = match &r.teacher {
            Some(teacher) if *self.device == Device::flex() => {
                // The teacher has a thread of its own. The student must stay on this one: Burn keeps the running statistics
                // of a batch norm for each thread that updates them.
                let (taught, out) = std::thread::scope(|scope| {
                    let taught = scope.spawn(|| teacher.forward(x.clone()));
                    let out = student();
                    (taught.join(), out)
                });
                (Some(taught.unwrap_or_else(|panic| std::panic::resume_unwind(panic))), out)
            }
            // A graphics processor keeps a queue, and memory, for every thread that ever spoke to it.
            teacher => (teacher.as_ref().map(|t| t.forward(x.clone())), student()),
        };
        let classes = self.data.train.classes;
        let target = Tensor::from_inner(targets(&labels, classes, settings.label_smoothing, self.device));
        let task = cross_entropy(out.logits.clone(), target);
        let mut parts = [Some(task.clone()), None, None, None, out.penalty];
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
            if settings.distill.attention > 0.0 {
                let maps: Vec<Tensor<4>> = taught.attention.into_iter().map(Tensor::from_inner).collect();
                if let Some(loss) = distill::attention(&out.attention, &maps) {
                    total = total + loss.clone().mul_scalar(settings.distill.attention);
                    parts[3] = Some(loss);
                }
            }
        }
        if let Some(penalty) = &parts[4] {
            total = total + penalty.clone().mul_scalar(settings.range_weight);
        }
        // One look at all of them: on a graphics processor each look waits for everything before it.
        let present = parts.each_ref().map(Option::is_some);
        let shown: Vec<Tensor<1>> =
            parts.into_iter().flatten().chain([total.clone()]).map(Tensor::inner).collect();
        let mut values = to_host(Tensor::cat(shown, 0))?.into_iter().map(f64::from);
        let mut next = |is: bool| if is { values.next().unwrap_or(f64::NAN) } else { 0.0 };
        let [task, teacher, features, attention, range] = present.map(&mut next);
        let losses = LossParts { loss: next(true), task, teacher, features, attention, range };
        let loss = losses.loss;
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
        r.state.sums.add(&losses, labels.len(), hits);
        Ok((losses, gradient))
    }
}
