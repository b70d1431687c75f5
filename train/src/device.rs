//! Training devices by name.

use burn::tensor::Device;

use crate::error::RunError;

/// Where training runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum DeviceName {
    /// The processor, with Burn's `flex` backend.
    #[default]
    Cpu,
    /// The processor, with Burn's older `ndarray` backend (feature `ndarray`; much slower on convolutions).
    Ndarray,
    /// A graphics processor through Vulkan, Metal or WebGPU (feature `wgpu`).
    Wgpu,
    /// An NVIDIA graphics processor (feature `cuda`).
    Cuda,
}

impl std::fmt::Display for DeviceName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Cpu => "cpu",
            Self::Ndarray => "ndarray",
            Self::Wgpu => "wgpu",
            Self::Cuda => "cuda",
        })
    }
}

impl DeviceName {
    /// Open the device.
    ///
    /// # Errors
    /// [`RunError::DeviceMissing`] when its feature was not built in.
    pub fn open(self) -> Result<Device, RunError> {
        match self {
            Self::Cpu => Ok(Device::flex()),
            Self::Ndarray => ndarray(),
            Self::Wgpu => wgpu(),
            Self::Cuda => cuda(),
        }
    }
}

#[cfg(feature = "ndarray")]
#[expect(deprecated, reason = "ndarray is an opt-in backend for as long as Burn ships it")]
fn ndarray() -> Result<Device, RunError> {
    Ok(Device::ndarray())
}
#[cfg(not(feature = "ndarray"))]
fn ndarray() -> Result<Device, RunError> {
    Err(RunError::DeviceMissing { name: "ndarray" })
}

#[cfg(feature = "wgpu")]
fn wgpu() -> Result<Device, RunError> {
    Ok(Device::wgpu(burn::tensor::DeviceKind::DefaultDevice))
}
#[cfg(not(feature = "wgpu"))]
fn wgpu() -> Result<Device, RunError> {
    Err(RunError::DeviceMissing { name: "wgpu" })
}

#[cfg(feature = "cuda")]
fn cuda() -> Result<Device, RunError> {
    Ok(Device::cuda(0))
}
#[cfg(not(feature = "cuda"))]
fn cuda() -> Result<Device, RunError> {
    Err(RunError::DeviceMissing { name: "cuda" })
}
