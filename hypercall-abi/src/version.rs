//! Questions about version and features.

abi_enum! {
    /// Operation of [`crate::Hypercall::XenVersion`] (`XENVER_*`).
    pub enum VersionOp: u32 {
        /// `()`: `major << 16 | minor` of the interface.
        Version = 0,
        /// `(&[u8; 16])`: the rest of the version as text.
        ExtraVersion = 1,
        /// `(&[u8; 1024])`: capabilities as text.
        Capabilities = 3,
        /// `(&u64)`: first address of the hypervisor.
        PlatformParameters = 5,
        /// `(&FeatureInfo)`: one word of feature bits.
        GetFeatures = 6,
        /// `()`: bytes in a page.
        PageSize = 7,
    }
}

abi_struct! {
    /// Argument of [`VersionOp::GetFeatures`] (`xen_feature_info`).
    pub struct FeatureInfo(8) {
        /// IN: which word of features.
        0 => submap_index: u32,
        /// OUT: one bit a feature.
        4 => submap: u32,
    }
}

abi_enum! {
    /// Bit numbers of the features in word 0 (`XENFEAT_*`).
    pub enum Feature: u32 {
        /// The guest may map page tables writable.
        WritablePageTables = 0,
        /// Descriptor tables may be writable.
        WritableDescriptorTables = 1,
        /// The hypervisor translates pseudo-physical frames.
        AutoTranslatedPhysmap = 2,
        /// A guest's kernel runs in ring 1 or 0 rather than in ring 3.
        SupervisorModeKernel = 3,
        /// Page directories may lie above 4 GiB.
        PaePgdirAbove4gb = 4,
        /// `mmu_update` can keep accessed and dirty bits.
        MmuPtUpdatePreserveAd = 5,
        /// Grants can be mapped under two host addresses.
        GnttabMapAvailBits = 7,
    }
}

/// Major version of the interface that is reported, as Xen 4.17.
pub const MAJOR: u32 = 4;
/// Minor version of the interface that is reported.
pub const MINOR: u32 = 17;
